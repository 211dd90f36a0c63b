# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading cron's tables, systemd's units and a folder's scripts for commands that call Compose for the folder."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator

from ...base.host.directory_handles import open_file
from ..callers import BESIDE, LINE, WHOLE, Caller, Folder, callers_in, is_script

#: Where an administrator puts what starts by itself.  A line of a table is one command; a script or a unit is read as a whole.
PLACES = (
    ("etc/crontab", LINE), ("etc/anacrontab", LINE), ("etc/cron.d", LINE), ("var/spool/cron", LINE),
    ("var/spool/cron/crontabs", LINE), ("etc/cron.hourly", WHOLE), ("etc/cron.daily", WHOLE), ("etc/cron.weekly", WHOLE),
    ("etc/cron.monthly", WHOLE), ("etc/systemd/system", WHOLE),
)  # fmt: skip
#: Bytes; what is larger is no script.
_LARGEST = 256 * 1024


def find(
    project: str, folder: str, files: Iterable[str], paths: Iterable[str], root: str = "/"
) -> tuple[list[Caller], list[str]]:
    """The commands that call Compose for a folder, and what could not be read, each with why.

    :param paths: files of the folder, relative; those that lie beside the Compose files are looked at in any case.
    :param root: below which cron's and systemd's files are.
    """
    unread: list[str] = []
    meant = Folder(project, _names(folder), tuple(files))
    scripts: list[Caller] = []
    for path in sorted({*paths, *(e.name for e in os.scandir(folder) if e.is_file())}):
        full = os.path.join(folder, path)
        text = _text(full, unread, scripts_only=True)
        scripts += callers_in(full, text, meant, BESIDE)
    found = list(scripts)
    for place, where in PLACES:
        for path in _files(os.path.join(root, place), unread):
            found += callers_in(path, _text(path, unread), meant, where, scripts)
    return found, unread


def _names(folder: str) -> tuple[str, ...]:
    """The paths by which commands name a folder."""
    names = dict.fromkeys((folder, os.path.realpath(folder)))
    try:
        owner = pwd.getpwuid(os.stat(folder).st_uid)
    except (KeyError, OSError):
        return tuple(names)
    home = owner.pw_dir.rstrip("/")
    for path in [n for n in names if home and n.startswith(f"{home}/")]:
        names.update(dict.fromkeys(h + path[len(home) :] for h in ("~", f"~{owner.pw_name}", "$HOME", "${HOME}")))
    return tuple(names)


def _files(place: str, unread: list[str]) -> Iterator[str]:
    """A file, or the files of a folder and of its ``*.d``; links lead to what is another package's, or is listed anyway."""
    if os.path.isfile(place):
        yield place
        return
    try:
        entries = sorted(os.scandir(place), key=lambda e: e.name)
    except FileNotFoundError:
        return
    except OSError as error:
        unread.append(f"{place} ({error.strerror})")
        return
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            yield entry.path
        elif entry.name.endswith(".d") and entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, unread)


def _text(path: str, unread: list[str], scripts_only: bool = False) -> str:
    """The text of a file, empty for what is no script."""
    try:
        with open_file(path) as stream:
            content = stream.read(2)
            if scripts_only and not is_script(path, content):
                return ""
            content += stream.read(_LARGEST)
    except OSError as error:
        # A link into nowhere calls nobody; a file that may not be read might.
        if os.path.exists(path):
            unread.append(f"{path} ({error.strerror})")
        return ""
    return content.decode(errors="replace") if len(content) <= _LARGEST else ""
