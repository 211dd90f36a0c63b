# SPDX-License-Identifier: GPL-3.0-or-later
"""Which translations are compiled, why some are not, and that compiling gives what gettext reads."""

from __future__ import annotations

import base64
import gettext
import io
import os
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.git.changes import Change
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.hotfix import (
    IMAGE,
    LIVE,
    MOUNT,
    VOLUME,
    Home,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.inside.translations import (
    Wrong,
    by_msgfmt,
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


def test_it_makes_what_django_reads() -> None:
    read = gettext.GNUTranslations(io.BytesIO(by_msgfmt(GOOD)))
    assert read.gettext("Tours") == "Ausflüge" and read.pgettext("verb", "Book") == "Buchen"
    assert read.ngettext("%(n)d seat", "%(n)d seats", 3) == "%(n)d Plätze"
    # As compilemessages: what is only guessed is not shown.
    assert read.gettext("Night") == "Night"


def test_it_says_where_a_catalogue_is_broken() -> None:
    with pytest.raises(Wrong, match=r"line [45]"):
        by_msgfmt(BROKEN)


def test_a_placeholder_that_is_lost_is_wrong() -> None:
    with pytest.raises(Wrong):
        by_msgfmt(GOOD.replace(b'"%(n)d Platz"', b'"%(m)d Platz"'))


def test_where_msgfmt_is_missing_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {PO: base64.b64encode(GOOD).decode(), "other.po": base64.b64encode(BROKEN).decode()}
    report = compiled(given)
    assert report["by"] == "msgfmt" and list(report["compiled"]) == [PO] and list(report["problems"]) == ["other.po"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiled(given) == {"by": "", "compiled": {}, "problems": {}}
    assert os.listdir(tmp_path) == []
