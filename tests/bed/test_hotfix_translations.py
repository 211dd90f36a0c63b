# SPDX-License-Identifier: GPL-3.0-or-later
"""A translation is mended under load: compiled by what the app's image has, or by this host, and served at once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from demo.repository import add_commit
from tests.bed.code_hotfix import PAGE, hotfix, of_v1
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop, deployed, run
from tests.bed.shop_snapshot import ids_of, there

PO = "locale/de/LC_MESSAGES/django.po"
# The beds have no index of Debian packages while they build: as much of GNU msgfmt as these catalogues need.
MSGFMT = r"""
import ast, struct, sys

texts, key = {}, ""
for number, line in enumerate(sys.stdin.read().splitlines(), 1):
    word, _space, text = line.partition(" ")
    if not line:
        continue
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        sys.exit(f"<stdin>:{number}: end-of-line within string")
    if word == "msgid":
        key = value
    else:
        texts[key] = value
ids = sorted(texts)
keys, values = [i.encode() for i in ids], [texts[i].encode() for i in ids]
start = 28 + 16 * len(ids)
table, at = b"", start
for text in (*keys, *values):
    table += struct.pack("<II", len(text), at)
    at += len(text) + 1
head = struct.pack("<7I", 0x950412DE, 0, len(ids), 28, 28 + 8 * len(ids), 0, 0)
sys.stdout.buffer.write(head + table + b"".join(text + b"\0" for text in (*keys, *values)))
"""
INSTALLED = """\
RUN printf '#!/bin/sh\\nexec python3 /app/msgfmt.py "$@"\\n' > /usr/local/bin/msgfmt && chmod 755 /usr/local/bin/msgfmt

USER shop
"""
SETTINGS = "shop/settings.py"


def catalogue(word: str) -> str:
    return f'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\nmsgid "Tours"\nmsgstr "{word}"\n'


def compiled(word: str) -> bytes:
    """The same as msgfmt of this host compiles it."""
    given = catalogue(word).encode()
    return subprocess.run(["msgfmt", "-o", "-", "-"], input=given, capture_output=True, check=True).stdout


def speaking(shop: Shop, version: str, word: str, **more: str) -> None:
    """A version whose pages are German, with further files; its image has no compiled form of its own."""
    settings = of_v1(shop, SETTINGS).replace('LANGUAGE_CODE = "en"', 'LANGUAGE_CODE = "de"')
    add_commit(
        shop.repository,
        {
            SETTINGS: f'{settings}\nUSE_I18N = True\nLOCALE_PATHS = [BASE_DIR / "locale"]\n',
            PAGE: of_v1(shop, PAGE).replace("{% load static %}", "{% load static i18n %}")
            .replace("Even Keel Travel</h1>", "{% translate 'Tours' %}</h1>"),
            PO: catalogue(word),
            **{name.replace("_", "."): text for name, text in more.items()},
        },
        version, parent="v1",
    )  # fmt: skip


def heading(shop: Shop) -> str:
    page = run(["curl", "-sf", f"{shop.url}/"])
    return page[page.index("<h1>") + 4 : page.index("</h1>")]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with deployed("translations", {"app_keep_releases": 20, "app_services": QUICK}) as made:
        yield made


@pytest.mark.parametrize("by", ["msgfmt of this host", "msgfmt of api"])
def test_a_translation_is_compiled_and_served_and_gone_back_from(shop: Shop, by: str) -> None:
    place = by.rpartition(" ")[2]
    version = f"speaks-{place}"
    installed = of_v1(shop, "Dockerfile").replace("USER shop\n", INSTALLED)
    own = {"msgfmt_py": MSGFMT, "Dockerfile": installed} if place == "api" else {}
    speaking(shop, version, "Ausfluege", **own)
    assert shop.update(version).returncode == 0
    assert heading(shop) == "Tours"
    looked = there(shop)
    broken = hotfix(shop, {PO: catalogue('Aus"fluege')}, hotfix_name="torn")
    assert broken.returncode != 0 and f"{PO}: line" in broken.output and "said by" in broken.output, broken.output
    assert there(shop) == looked
    with shop.load() as load:
        play = hotfix(shop, {PO: catalogue("Reisen")}, hotfix_name=f"reisen-{place}")
        result = load.stop()
    assert play.returncode == 0 and f"compiled by {by}: {PO}" in play.output, play.output[-4000:]
    assert heading(shop) == "Reisen" and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    told = shop.play(playbook="status")
    assert told.returncode == 0 and ".mo" not in told.output, told.output[-3000:]
    print(f"\nevidence: a translation compiled by {by}: {result.total:,} requests, 0 failed, {play.seconds:.1f} s")
    ids = ids_of(shop)
    back = shop.rollback()
    assert back.returncode == 0 and heading(shop) == "Tours" and ids_of(shop) != ids, back.output[-3000:]


def test_where_the_repository_has_the_compiled_form_both_are_asked_for(shop: Shop) -> None:
    speaking(shop, "speaks-tracked", "Ausfluege")
    mo = f"{PO[:-3]}.mo"
    add_commit(shop.repository, {mo: compiled("Reisen")}, "speaks-both", parent="speaks-tracked")
    assert shop.update("speaks-both").returncode == 0
    assert heading(shop) == "Reisen"
    play = hotfix(shop, {PO: catalogue("Touren")}, hotfix_name="alone")
    assert play.returncode != 0 and f"name {mo} as well" in play.output, play.output[-3000:]
    (shop.folder / "dev" / mo).write_bytes(compiled("Touren"))
    play = shop.play(
        playbook="hotfix", hotfix_files=f"{PO},{mo}", hotfix_source=str(shop.folder / "dev"), hotfix_name="both"
    )
    assert play.returncode == 0 and heading(shop) == "Touren", play.output[-3000:]
