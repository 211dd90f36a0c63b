# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The migration that brings a hotfix of the database into the repository. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .database_objects import Things, differing, leading

_NUMBERED = re.compile(r"(\d{4})_\w+\Z")
_NO_APP = "APP"


@dataclass(frozen=True)
class Migration:
    """Where in the repository it belongs, and what it says."""

    path: str
    text: str


def slug_of(name: str) -> str:
    """What its file's name ends with."""
    return "hotfix_" + re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()


def migration_of(name: str, before: Things, after: Things, folder: str, there: Sequence[str]) -> Migration:
    """A migration that may also be run where the hotfix is in force already.

    :param folder: the app's own ``migrations`` in the repository, empty where that is not known.
    :param there: names of its migrations.
    """
    numbered = sorted(n for n in there if _NUMBERED.match(n))
    last = numbered[-1] if numbered else ""
    number = int(last[:4]) + 1 if last else 1
    app = folder.split("/")[-2] if folder.count("/") else _NO_APP
    file = f"{folder or _NO_APP + '/migrations'}/{number:04d}_{slug_of(name)}.py"
    needed = f'("{app}", "{last}")' if last else ""
    # Names of hotfixes have no quote in them, and definitions may have anything.
    text = (
        f'"""What the hotfix {name} has changed in production: {_one_line(differing(before, after))}."""\n\n'
        "from django.db import migrations\n\n"
        "# The code from before and after it works with either.\n"
        'evenkeel_phase = "either"\n\n\n'
        "class Migration(migrations.Migration):\n"
        + ("" if folder else "    # The last migration of the app, and of the apps whose tables are named below.\n")
        + f"    dependencies = [{needed}]\n"
        "    operations = [\n"
        "        migrations.RunSQL(\n"
        f"            sql={_literals(leading(before, after))},\n"
        f"            reverse_sql={_literals(leading(after, before))},\n"
        "        ),\n"
        "    ]\n"
    )
    return Migration(file, text)


def _one_line(words: Sequence[str]) -> str:
    shown = re.sub(r"[^\x20-\x7e]|[\\\"]", "?", ", ".join(words))
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def _literals(statements: Sequence[str]) -> str:
    inner = "".join(f"                {_literal(s)},\n" for s in statements)
    return f"[\n{inner}            ]"


def _literal(text: str) -> str:
    """A Python string, over several lines where that can be read back as it is."""
    if "\n" in text and '"""' not in text and "\\" not in text and not text.endswith('"') and _plain(text):
        return f'"""{text}"""'
    lines = text.splitlines(keepends=True)
    if len(lines) < 2:
        return repr(text)
    inner = "".join(f"                    {line!r}\n" for line in lines)
    return f"(\n{inner}                )"


def _plain(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def folder_of(folders: Mapping[str, Sequence[str]], app: str) -> str:
    """The folder of migrations that is meant: the app's, or the only one there is; empty where nobody can tell.

    :param folders: each folder of migrations in the repository, with what is in it.
    """
    mine = [f for f in sorted(folders) if not app or (f.count("/") and f.split("/")[-2] == app)]
    return mine[0] if len(mine) == 1 else ""
