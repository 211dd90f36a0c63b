# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of service one is, judged by what runs in it, else by what it would run, else by its image's name.

What is not understood is called ``other``, and is never taken for something that two of may run at once.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .commands import base, ends_by_itself, is_neutral, simple_commands, words_of
from .process_list import list_named_by, processes_of
from .programs import (
    BROKER,
    DATABASE,
    JOB,
    OTHER,
    PROXY,
    SCHEDULER,
    SHELLS,
    WEB,
    WORKER,
    Judgement,
    image_kind,
    program_kind,
)
from .python_program import files_of, kind_of_source
from .restart import NO, ON_FAILURE, restart_of
from .start_script import Command, commands_of

#: Of several in one container the first decides: two of it at once would do the most harm.
_CAREFUL = (SCHEDULER, DATABASE, BROKER, WEB, WORKER, PROXY, OTHER, JOB)
_IDLE = {"sleep", "wait", "kill", "break", "date", "trap"}


@dataclass(frozen=True)
class Evidence:
    """What is known of a service beside its definition.

    :ivar image: the configuration of its image (``Entrypoint``, ``Cmd``, ``Env``), empty when unknown; ``built_upon``: the
        name of the image that its recipe begins with; ``starts_itself``: whether the recipe starts it otherwise than that.
    :ivar processes: the command line of each process that runs in it; ``listens``: the TCP ports that it listens on.
    :ivar ended: the exit code where nothing runs of it and something did, None otherwise.
    :ivar scripts: word of its command line → text, of the shell scripts that it starts with, and lists of processes;
        ``programs``: end of a path (:func:`files_of`) → text, of the Python programs that it runs.
    """

    image: Mapping[str, Any] = field(default_factory=dict)
    built_upon: str = ""
    starts_itself: bool = False
    processes: tuple[tuple[str, ...], ...] = ()
    listens: frozenset[int] = frozenset()
    ended: int | None = None
    scripts: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)


def completed(service: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with what it leaves to its image."""
    entrypoint, command = service.get("entrypoint"), service.get("command")
    # As the engine does it: an entrypoint of one's own leaves nothing of the image's command.
    return {
        **service,
        "entrypoint": entrypoint or image.get("Entrypoint"),
        "command": command or (None if entrypoint else image.get("Cmd")),
    }


def named_files(service: Mapping[str, Any], evidence: Evidence) -> list[str]:
    """The words of a service's command lines that may be files which say more: scripts, and lists of processes."""
    whole = completed(service, evidence.image)
    first = words_of(whole["entrypoint"]) + words_of(whole["command"])
    run = [one.words for wrapped in (False, True) for one in commands_run(service, evidence, wrapped)]
    found = [word for words in (first, *run) for word in words if _may_be_a_script(word)]
    return [*found, *(name for words in run for name in [list_named_by(words)] if name)]


def _may_be_a_script(word: str) -> bool:
    named = re.fullmatch(r"[\w./@+-]+", word) and not word.startswith("-")
    return bool(named) and ("/" in word or word.endswith(".sh"))


def judge(service: Mapping[str, Any], evidence: Evidence) -> Judgement:
    """What kind of service this is.

    :param service: its resolved definition.
    """
    commands = commands_run(service, evidence)
    running = _first(_kind_of(argv, evidence) for argv in evidence.processes)
    written = _written(commands, evidence) or _written(commands_run(service, evidence, wrapped=True), evidence)
    if written and written.kind == SCHEDULER and (running is None or running.kind in (OTHER, WORKER)):
        # A loop that sleeps just now shows nothing of what it does.
        return written
    named = _by_image(service, evidence) if _leaves_it_to_the_image(service) else None
    for found in (named, running, written):
        if found and (found.kind != OTHER or found is named):
            return found
    if running is None and not evidence.processes and _ends(service, evidence, commands):
        return Judgement(JOB, "its commands end")
    found = running or written or _by_image(service, evidence)
    if found is None and evidence.ended == 0 and _once(service):
        return Judgement(JOB, "it has ended with exit code 0")
    return found or Judgement(OTHER)


def _written(commands: Sequence[Command], evidence: Evidence) -> Judgement | None:
    return _first(_in_a_loop(c.words, evidence) if c.looped else _kind_of(c.words, evidence) for c in commands)


def _kind_of(words: Sequence[str], evidence: Evidence) -> Judgement | None:
    """What one command line is, by its program's name, else by what the app's own file of it uses."""
    known = program_kind(words)
    if known:
        return known
    sources = (kind_of_source(evidence.programs[end], end) for end in files_of(words) if end in evidence.programs)
    return _first(sources)


def _leaves_it_to_the_image(service: Mapping[str, Any]) -> bool:
    """Whether the image runs what it was made for, with other options at most."""
    words = words_of(service.get("command"))
    return not service.get("entrypoint") and (not words or words[0].startswith("-"))


def _once(service: Mapping[str, Any]) -> bool:
    return restart_of(service) in ("", NO, ON_FAILURE)


def _first(found: Iterable[Judgement | None]) -> Judgement | None:
    return min((one for one in found if one), key=lambda one: _CAREFUL.index(one.kind), default=None)


def _by_image(service: Mapping[str, Any], evidence: Evidence) -> Judgement | None:
    names = ["" if evidence.starts_itself else evidence.built_upon]
    names.append("" if service.get("build") else str(service.get("image") or ""))
    return next((found for name in names if name for found in [image_kind(name)] if found), None)


def commands_run(service: Mapping[str, Any], evidence: Evidence, wrapped: bool = False) -> list[Command]:
    """Each simple command that a service runs, with what a shell is told and the scripts that it starts with opened.

    :param wrapped: leave its entrypoint out, as one that nobody knows, and that runs what it is given.
    """
    whole = completed(service, evidence.image)
    words = [*([] if wrapped else _argv(whole["entrypoint"])), *_argv(whole["command"])]
    return list(_opened(words, False, evidence.scripts, environment_of(service, evidence.image), 3))


def _argv(command: Any) -> list[str]:
    if isinstance(command, str):
        try:
            return shlex.split(command)
        except ValueError:
            return command.split()
    return [str(word) for word in command or []]


def _opened(
    words: Sequence[str], looped: bool, scripts: Mapping[str, str], environment: Mapping[str, str], depth: int
) -> Iterator[Command]:
    """What a command line comes to; scripts that start scripts are followed ``depth`` times."""
    listing = list_named_by(words) if words else ""
    at = next((n for n, word in enumerate(words[:4]) if word in scripts and word != listing), None)
    shell = next(
        (n for n, w in enumerate(words) if re.fullmatch(r"-[a-z]*c", w) and base(words[n - 1 :][0]) in SHELLS), None
    )
    inner: Iterator[Command] | None = None
    if depth and at is not None:
        rest = {name: text for name, text in scripts.items() if name != words[at]}
        inner, scripts = commands_of(scripts[words[at]], words[at + 1 :], environment), rest
    elif depth and shell is not None and shell + 1 < len(words):
        # Compose doubles dollar signs in what it prints, the container is to see single ones.
        inner = commands_of(words[shell + 1].replace("$$", "$"), words[shell + 3 :], environment)
    if inner is None:
        for simple in simple_commands(None, list(words)):
            processes = processes_of(simple, scripts.get(list_named_by(simple), "")) if depth else []
            if not processes:
                yield Command(tuple(simple), looped)
            for one in (one for text in processes for one in commands_of(text, (), environment)):
                yield from _opened(one.words, one.looped, {}, environment, depth - 1)
        return
    for one in inner:
        yield from _opened(one.words, looped or one.looped, scripts, environment, depth - 1)


def environment_of(service: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, str]:
    """The variables that a container of a service starts with."""
    given = service.get("environment") or {}
    pairs = list(given.items()) if isinstance(given, Mapping) else [e.split("=", 1) for e in given if "=" in e]
    inherited = [e.split("=", 1) for e in image.get("Env") or [] if "=" in e]
    return {str(name): "" if value is None else str(value) for name, value in [*inherited, *pairs]}


def _in_a_loop(words: Sequence[str], evidence: Evidence) -> Judgement | None:
    """What a command is that is run again and again: one that ends by itself is what a scheduler does."""
    found = _kind_of(words, evidence)
    if found:
        return found
    if is_neutral(words) or base(words[0]) in _IDLE:
        return None
    return Judgement(SCHEDULER, f"{base(words[0])} again and again")


def _ends(service: Mapping[str, Any], evidence: Evidence, commands: Sequence[Command]) -> bool:
    """Whether a service runs to completion, by its command or by the script that is opened."""
    whole = completed(service, evidence.image)
    if ends_by_itself(whole) or ends_by_itself({**whole, "entrypoint": None}):
        return True
    if not evidence.scripts or any(one.looped for one in commands):
        return False
    doing = [one for one in commands if not is_neutral(one.words)]
    return bool(doing) and all(
        ends_by_itself({**whole, "entrypoint": None, "command": list(one.words)}) for one in doing
    )


def kind_without_image(service: Mapping[str, Any], evidence: Evidence | None = None) -> str:
    """What a service is, as far as its definition tells, with what else is known of it."""
    return str((service.get("x-evenkeel") or {}).get("kind") or judge(service, evidence or Evidence()).kind)
