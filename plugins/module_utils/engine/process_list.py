# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What honcho and supervisord start: several processes in one container, from a list in a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .commands import base

#: What they look for where they are told of no file.
PROCFILE, SUPERVISOR = "./Procfile", "supervisord.conf"


def list_named_by(words: Sequence[str]) -> str:
    """The file with the list that a command line starts processes from, as it names it; empty where it starts none."""
    name = base(words[0])
    if name not in ("honcho", "supervisord"):
        return ""
    given = dict(zip(words[1:], words[2:]))
    if name == "honcho":
        return next((given[option] for option in ("-f", "--procfile") if option in given), PROCFILE)
    return next((given[option] for option in ("-c", "--configuration") if option in given), SUPERVISOR)


def is_list(text: str) -> bool:
    """Whether a file is one for supervisord."""
    return bool(re.search(r"^\[program:", text, re.MULTILINE))


def _option(section: str, name: str) -> str:
    found = re.search(rf"^{name} *= *(.+)$", section, re.MULTILINE)
    return found.group(1).strip() if found else ""


def processes_of(words: Sequence[str], text: str) -> list[str]:
    """The command lines that are started, each as a shell would get it.

    :param words: of the one that starts them; ``text``: its list.
    """
    if base(words[0]) == "supervisord":
        sections = re.split(r"^\[", text, flags=re.MULTILINE)
        programs = [part for part in sections if part.startswith("program:") and _option(part, "autostart") != "false"]
        lines = [line for part in programs if (line := _option(part, "command"))]
        return [re.sub(r"%\(ENV_(\w+)\)s", r"${\1}", line) for line in lines]
    if base(words[0]) != "honcho" or "start" not in words:
        return []
    wanted = [word for word in words[words.index("start") + 1 :] if not word.startswith("-")]
    found = re.findall(r"^([\w-]+):\s*(\S.*)$", text, re.MULTILINE)
    return [command for name, command in found if not wanted or name in wanted]
