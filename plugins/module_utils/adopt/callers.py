# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commands of a server call Compose for the folder that an app was started from: cron, systemd, scripts.

Each of them works as before after the folder was adopted, and ``up -d`` there replaces the release by the old images.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from posixpath import basename, normpath

from ..base.masking import without_credentials
from ..base.secret_values import is_secret_name

#: How a file says which folder a command is for: it lies in the folder; somewhere in the file; in the same line.
BESIDE, WHOLE, LINE = "beside", "whole", "line"

_COMPOSE = re.compile(r"(?<![\w.-])docker(?:-compose|(?:\s+--?\S+)*\s+compose)(?![\w.-])(?P<words>[^;|&]*)")
# Options of Compose itself that have a value of their own.
_WITH_VALUE = {"-f", "--file", "-p", "--project-name", "--project-directory", "--env-file", "--profile", "--ansi",
               "--progress", "--parallel"}  # fmt: skip
# What leaves every container as it is.  ``run`` is none of them: it brings up what a service depends on.
_LOOKS = {"attach", "build", "config", "cp", "events", "exec", "images", "logs", "ls", "port", "ps", "pull", "push",
          "stats", "top", "version", "volumes", "wait"}  # fmt: skip
_SECRET = re.compile(r"(?P<name>[A-Za-z_][\w-]*)(?P<between>=|\s+)(?P<value>'[^']*'|\"[^\"]*\"|[^\s'\";&|]+)")


@dataclass(frozen=True)
class Folder:
    """The folder that was started, as commands name it.

    :ivar names: its paths, without links and as its owner writes them (``~/app``).
    :ivar files: the Compose files, absolute.
    """

    project: str
    names: tuple[str, ...]
    files: tuple[str, ...]

    def is_named(self, text: str) -> bool:
        """Whether a text names the folder, something in it, or one of its files."""
        return any(re.search(rf"(?<![\w./~-]){re.escape(name)}(?![\w.-])", text) for name in (*self.names, *self.files))


@dataclass(frozen=True)
class Caller:
    """A line of a file that calls Compose for the folder.

    :ivar command: the line, without secrets.
    :ivar replaces: it may replace, stop or remove containers; otherwise it only looks, or works inside one.
    """

    file: str
    line: int
    command: str
    replaces: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.command}"


def is_script(path: str, beginning: bytes) -> bool:
    """Whether a file beside the Compose file is run by people or timers."""
    name = basename(path)
    return name.endswith((".sh", ".mk")) or name.lower() in ("makefile", "gnumakefile") or beginning.startswith(b"#!")


def callers_in(path: str, text: str, folder: Folder, where: str, scripts: Sequence[Caller] = ()) -> list[Caller]:
    """The lines of a file that call Compose for the folder.

    :param where: :data:`BESIDE`, :data:`WHOLE` or :data:`LINE`.
    :param scripts: callers in the folder: whoever runs such a script calls Compose as well.
    """
    if where == WHOLE and not folder.is_named(text):
        return []
    found = []
    for number, line in _lines(text):
        if where == LINE and not folder.is_named(line):
            continue
        calls = [r for r in (_replaces(m["words"], folder) for m in _COMPOSE.finditer(line)) if r is not None]
        if where != BESIDE:
            calls += [s.replaces for s in scripts if _runs(line, s.file)]
        if calls:
            found.append(Caller(path, number, shown(line), any(calls)))
    return found


def shown(line: str) -> str:
    """A command without the values of variables and options that are secret by their name, and without credentials."""
    return without_credentials(_SECRET.sub(_hidden, " ".join(line.split())))


def report(callers: Sequence[Caller], project: str) -> list[str]:
    """What an operator is told of the commands that were found; of each group first what it does, then what to run."""
    replacing, looking = ([c for c in callers if c.replaces is replaces] for replaces in (True, False))
    lines = []
    if replacing:
        lines += [
            "these commands still start the app from the old folder, and would replace a release by the old images:"
        ]
        lines += [f"  {caller}" for caller in replacing]
        lines += [
            "  let them run ansible-playbook evenkeel.deploy.update instead; with -e adopt_stop_sign=true Compose refuses them"
        ]
    if looking:
        lines += ["these commands use the old folder's Compose files, and would be refused with adopt_stop_sign:"]
        lines += [f"  {caller}" for caller in looking]
        lines += [
            f"  docker compose -p {project} in place of the folder or -f works without these files, from any other folder"
        ]
    return lines


def _hidden(match: re.Match[str]) -> str:
    name, between = match["name"], match["between"]
    # ``token value`` are two words of a command, ``--token value`` is an option.
    option = between == "=" or match.string[: match.start()].endswith("-")
    return f"{name}{between}<{name}>" if option and is_secret_name(name) else match[0]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a script without comments, those that go on with a backslash as one, by the number of the first."""
    first, begun = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not begun and line.lstrip().startswith("#"):
            continue
        first, begun = (first, begun + line) if begun else (number, line)
        if begun.endswith("\\"):
            begun = begun[:-1] + " "
            continue
        yield first, begun
        begun = ""
    if begun:
        yield first, begun


def _replaces(words: str, folder: Folder) -> bool | None:
    """Whether a call may change containers of the folder; None where it is for other files or another project."""
    files, names, command = _parsed(words.strip("\"'` )").split())
    known = [normpath(f) for f in files if "$" not in f]
    if len(known) == len(files) and known and not any(_is_of(f, folder.files) for f in known):
        return None
    if any("$" not in n and n != folder.project for n in names):
        return None
    return command not in _LOOKS


def _parsed(words: Sequence[str]) -> tuple[list[str], list[str], str]:
    """The files and project names of a call, and its command, empty where a variable holds it."""
    files: list[str] = []
    names: list[str] = []
    rest = list(words)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        if not word.startswith("-"):
            return files, names, word.strip("\"'")
        if word in _WITH_VALUE and not equals:
            value = rest.pop(0) if rest else ""
        value = value.strip("\"'")
        if word in ("-f", "--file"):
            files.append(value)
        elif word in ("-p", "--project-name"):
            names.append(value)
    return files, names, ""


def _is_of(file: str, files: Collection[str]) -> bool:
    return file in files if file.startswith("/") else basename(file) in {basename(f) for f in files}


def _runs(line: str, script: str) -> bool:
    name = basename(script)
    word = "make" if name.lower() in ("makefile", "gnumakefile") else re.escape(name)
    return bool(re.search(rf"(?<![\w.-]){word}(?![\w.-])", line))
