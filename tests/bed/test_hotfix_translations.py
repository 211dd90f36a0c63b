# SPDX-License-Identifier: GPL-3.0-or-later
"""A translation is mended under load: compiled by what the app's image has, or by this host, and served at once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import polib
import pytest

from demo.repository import add_commit
from tests.bed.code_hotfix import PAGE, hotfix, of_v1
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop, deployed, run
from tests.bed.shop_snapshot import ids_of, there

PO = "locale/de/LC_MESSAGES/django.po"
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


@pytest.mark.parametrize("by", ["msgfmt of this host", "polib of api"])
def test_a_translation_is_compiled_and_served_and_gone_back_from(shop: Shop, by: str) -> None:
    tool, version = by.partition(" ")[0], f"speaks-{by.partition(' ')[0]}"
    # It is one file, and so the image has it without an index of packages.
    own = {"polib_py": Path(polib.__file__).read_text(encoding="utf-8")} if tool == "polib" else {}
    speaking(shop, version, "Ausfluege", **own)
    assert shop.update(version).returncode == 0
    assert heading(shop) == "Tours"
    looked = there(shop)
    broken = hotfix(shop, {PO: catalogue('Aus"fluege')}, hotfix_name="torn")
    assert broken.returncode != 0 and f"{PO}: line" in broken.output and "said by" in broken.output, broken.output
    assert there(shop) == looked
    with shop.load() as load:
        play = hotfix(shop, {PO: catalogue("Reisen")}, hotfix_name=f"reisen-{tool}")
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
