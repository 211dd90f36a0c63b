# SPDX-License-Identifier: GPL-3.0-or-later
"""Which translations are compiled, why some are not, and that each way of compiling gives what gettext reads."""

from __future__ import annotations

import base64
import gettext
import io
import os
import sys
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.hotfix import (
    IMAGE,
    LIVE,
    MOUNT,
    VOLUME,
    Change,
    Home,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.inside import translations
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.inside.translations import (
    Wrong,
    by_babel,
    by_msgfmt,
    by_polib,
    compiled,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.translations import (
    catalogues,
    compiled_path,
    uncompilable,
)

PO = "locale/de/LC_MESSAGES/django.po"
HEAD = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\nPlural-Forms: nplurals=2; plural=(n != 1);\\n"\n\n'
GOOD = f"""{HEAD}msgid "Tours"
msgstr "Ausflüge"

msgctxt "verb"
msgid "Book"
msgstr "Buchen"

#, fuzzy
msgid "Night"
msgstr "Nicht"

#, python-format
msgid "%(n)d seat"
msgid_plural "%(n)d seats"
msgstr[0] "%(n)d Platz"
msgstr[1] "%(n)d Plätze"
""".encode()
BROKEN = f'{HEAD}msgid "Tours\nmsgstr "Ausflüge"\n'.encode()
WAYS = (by_msgfmt, by_babel, by_polib)


def home(where: str = IMAGE, kind: str = "web") -> Home:
    return Home(where, "api", kind, f"/app/{PO}")


@pytest.mark.parametrize(
    ("changed", "at", "expected"),
    [
        ([PO], [home()], [PO]),
        ([PO], [home(MOUNT, "worker")], [PO]),
        ([PO], [home(), home(VOLUME)], [PO]),
        ([PO, compiled_path(PO)], [home()], []),
        ([PO], [home(kind="job")], []),
        ([PO], [home(LIVE, "proxy")], []),
        ([PO], [], []),
        (["tours/catalogue.py"], [home()], []),
    ],
)
def test_compiled_is_what_code_that_is_replaced_reads(changed: list[str], at: list[Home], expected: list[str]) -> None:
    assert catalogues([Change(path) for path in changed], dict.fromkeys(changed, at)) == expected


def test_what_is_not_compiled_says_what_to_run_instead() -> None:
    assert uncompilable([PO], [], False, "v9") == {}
    tracked = uncompilable([PO], [compiled_path(PO)], False, "v9")[PO]
    assert tracked.key == "translation" and compiled_path(PO) in tracked.what and "compilemessages" in tracked.command
    assert "update_version=v9" in uncompilable(["i18n/de.po"], [], False, "v9")["i18n/de.po"].command
    assert "hotfix_mode=in_place" in uncompilable([PO], [], True, "v9")[PO].command


@pytest.mark.parametrize("way", WAYS)
def test_each_way_makes_what_django_reads(way: translations.Way) -> None:
    read = gettext.GNUTranslations(io.BytesIO(way(GOOD)))
    assert read.gettext("Tours") == "Ausflüge" and read.pgettext("verb", "Book") == "Buchen"
    assert read.ngettext("%(n)d seat", "%(n)d seats", 3) == "%(n)d Plätze"
    # As compilemessages: what is only guessed is not shown.
    assert read.gettext("Night") == "Night"


@pytest.mark.parametrize("way", WAYS)
def test_each_way_says_where_a_catalogue_is_broken(way: translations.Way) -> None:
    with pytest.raises(Wrong, match=r"line [45]"):
        way(BROKEN)


@pytest.mark.parametrize("way", [by_msgfmt, by_babel])
def test_a_placeholder_that_is_lost_is_wrong(way: translations.Way) -> None:
    with pytest.raises(Wrong):
        way(GOOD.replace(b'"%(n)d Platz"', b'"%(m)d Platz"'))


def test_what_is_there_is_used_in_order_and_none_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {PO: base64.b64encode(GOOD).decode(), "other.po": base64.b64encode(BROKEN).decode()}
    told = compiled(given)
    assert told["by"] == "msgfmt" and list(told["compiled"]) == [PO] and list(told["problems"]) == ["other.po"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiled(given)["by"] == "Babel"
    for module in [m for m in sys.modules if m.partition(".")[0] == "babel"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "babel", None)
    assert compiled(given)["by"] == "polib"
    monkeypatch.setitem(sys.modules, "polib", None)
    assert compiled(given) == {"by": "", "compiled": {}, "problems": {}}
    assert os.listdir(tmp_path) == []
