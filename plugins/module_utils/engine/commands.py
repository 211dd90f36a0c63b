# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command of a service says: its words, the simple commands of a shell's text, whether they end by themselves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from .restart import ALWAYS, NO, ON_FAILURE, UNLESS_STOPPED, restart_of

SHELLS = {"sh", "bash", "ash", "dash", "zsh"}
_OPERATOR = re.compile(r"[();&|]+")
#: Words before a command that say how it runs, not what.
_PREFIXES = {"exec", "env", "time", "nice", "tini", "dumb-init", "then", "do", "else", "!", "--"}
_RUNNERS = {"poetry", "uv", "pipenv", "pdm", "hatch", "rye"}
_WAITERS = re.compile(r"^(wait-for.*|wait_for.*|dockerize|wait4x|wait)$")
#: What a chain may have in between without being what it is for.
_NEUTRAL = {
    "set", "cd", "echo", "printf", "true", ":", "export", "sleep", "umask", "ulimit", "test", "[", "[[", "source", ".", "until",
    "if", "fi", "done", "nc", "pg_isready", "exit", "for",
}  # fmt: skip
PYTHON = re.compile(r"^python[0-9.]*$")
_PACKAGERS = {"npm", "yarn", "pnpm", "bun"}
_EXECUTORS = {"npx", "pnpx", "bunx"}
_BUILDS = re.compile(r"^(build|generate|compile|bundle|ci|install|i)(?!.*watch)([:_-][\w:-]*)?$")
#: Front-end tools that build when they are told to, and those that do nothing else unless told otherwise.
_TOLD = {
    "vite", "ng", "next", "nuxt", "nuxi", "astro", "gatsby", "vue-cli-service", "react-scripts", "parcel", "remix", "quasar",
}  # fmt: skip
_BUILDERS = {"webpack", "rollup", "tsc", "sass", "tailwindcss", "esbuild", "gulp", "hugo", "eleventy", "vue-tsc"}
_GO_ON = {"--watch", "-w", "watch", "serve", "server", "dev", "start", "--serve"}
#: Commands of Django that end, whoever wrote the app.
_DJANGO_ENDS = {
    "migrate", "collectstatic", "check", "compilemessages", "loaddata", "createcachetable", "createsuperuser",
    "clearsessions", "compress", "makemessages", "dumpdata", "flush", "diffsettings", "showmigrations", "sqlmigrate",
    "migrate_schemas", "rebuild_index", "update_index", "search_index", "invalidate_cachalot",
}  # fmt: skip
_DJANGO_SERVES = {"runserver", "runserver_plus", "qcluster", "rqworker", "rqscheduler", "process_tasks", "runworker", "shell"}  # fmt: skip
#: Programs that end; said only of a service that is not to be started again, since people wrap servers in scripts.
_ENDS = {
    "install", "find", "psql", "pg_dump", "pg_restore", "createdb", "mysql", "aws", "mc", "curl", "wget", "alembic", "pip", "make",
    "certonly",
}  # fmt: skip
#: Tools of stores and brokers; with them it is a server's image that is used for something else.
_CLIENTS = {
    "mc", "mongosh", "mongo", "psql", "mysql", "kafka-topics.sh", "kafka-topics", "redis-cli", "alembic", "rabbitmqadmin",
    "aerich",
}  # fmt: skip
#: Those that nobody wraps a server in; what is to be started again after them goes on, round and round.
_FILE_TOOLS = {"cp", "mv", "rm", "rsync", "chown", "chmod", "mkdir", "ln", "tar", "unzip", "gzip", "brotli"}
#: Those of them that hand on what was made, and what keeps a script from being one command after the other.
_HANDED_ON = {"cp", "mv", "rsync", "tar"}
_NO_SEQUENCE = {"&", "while", "for", "until", "trap"}
_NAMED_SO = re.compile(
    r"(^|[-_./])(build|builder|init|setup|migrat\w*|seed|import|create|upgrade|load|collect\w*|compile|bundle|bootstrap|provision|copy|publish)([-_.]|$)"
)


def _split(text: str) -> list[str]:
    """Shell text as words, its operators apart from them (``migrate&&gunicorn``)."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return list(lexer)
    except ValueError:
        return text.split()


def words_of(command: Any) -> list[str]:
    """A command as words: lists as they are, strings split, the script of a ``sh -c`` split as well."""
    if not command:
        return []
    words = _split(command) if isinstance(command, str) else [str(w) for w in command]
    return [part for word in words for part in (_split(word) if re.search(r"\s", word) else [word])]


def base(word: str) -> str:
    """A program's name without its folder."""
    return word.rsplit("/", 1)[-1]


def simple_commands(entrypoint: Any, command: Any) -> list[list[str]]:
    """The commands that a service runs one after the other, each as words without what only says how it runs.

    A script as entrypoint (``/entrypoint.sh``) is taken for what it usually is: a wrapper that runs the command.
    """
    before = words_of(entrypoint)
    after = _of_lines(command)
    wrapped = len(before) == 1 and after and ("/" in before[0] or before[0].endswith(".sh"))
    words = after if wrapped and base(before[0]) not in SHELLS else _of_lines(entrypoint) + after
    found: list[list[str]] = [[]]
    for word in words:
        if _OPERATOR.fullmatch(word):
            found.append([])
        else:
            found[-1].append(word)
    return [stripped for stripped in (_stripped(words) for words in found) if stripped]


def _of_lines(command: Any) -> list[str]:
    """:func:`words_of`, with the lines of a shell's script ended as by a semicolon."""
    if isinstance(command, str):
        return words_of(_joined(command))
    return words_of([_joined(str(word)) for word in command or []])


def _joined(text: str) -> str:
    lines = [
        line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.strip().startswith("#")
    ]
    return " ; ".join(lines) if len(lines) > 1 else text


def _stripped(words: Sequence[str]) -> list[str]:
    """One command without shells, variables, wrappers and what waits for others before it."""
    rest = list(words)
    while rest:
        name = base(rest[0])
        if _WAITERS.match(name) and "--" in rest:
            rest = rest[rest.index("--") + 1 :]
        elif name in SHELLS and any(re.match(r"^-[a-z]*c$", word) for word in rest[1:3]):
            rest = rest[next(i for i, word in enumerate(rest) if re.match(r"^-[a-z]*c$", word)) + 1 :]
        elif name in _PREFIXES or re.match(r"^\w+=", rest[0]) or (name in SHELLS and rest[1:] and rest[1][0] != "-"):
            rest = rest[1:]
        elif name in _RUNNERS and rest[1:2] == ["run"]:
            rest = rest[2:]
        else:
            return rest
    return rest


def django_command(words: Sequence[str]) -> str:
    """The command of Django that a simple command runs, empty when it runs none."""
    rest = list(words)
    if rest and PYTHON.match(base(rest[0])):
        rest = rest[1:]
        while rest and rest[0].startswith("-") and rest[0] != "-m":
            rest = rest[1:]
        rest = rest[1:] if rest[:1] == ["-m"] else rest
    if not rest or base(rest[0]) not in ("manage.py", "django-admin", "django-admin.py", "django"):
        return ""
    names = [word for word in rest[1:] if not word.startswith("-")]
    return names[0] if names else ""


def is_neutral(words: Sequence[str]) -> bool:
    """Whether a simple command only prepares the ones beside it."""
    if list(words[:2]) == ["sleep", "infinity"]:
        return False
    waits = list(words[:2]) == ["while", "!"] or any(_WAITERS.match(name) for name in _called(words))
    return waits or base(words[0]) in _NEUTRAL


def _called(words: Sequence[str]) -> list[str]:
    """What a simple command runs, as a person would call it: ``wait`` for ``python -m shop.wait``."""
    rest = list(words)
    if PYTHON.match(base(rest[0])) and "-m" in rest[:-1]:
        rest = [rest[rest.index("-m") + 1].rpartition(".")[2]]
    return [name for name in (base(rest[0]), django_command(words)) if name]


def _builds_front_end(words: Sequence[str]) -> bool:
    name, rest = base(words[0]), [word for word in words[1:] if not word.startswith("-") or word in _GO_ON]
    if name in _PACKAGERS:
        # Folders come as the value of an option: npm --prefix frontend run build.
        if "run" in rest or "run-script" in rest:
            at = next(i for i, word in enumerate(rest) if word in ("run", "run-script"))
            rest = rest[at + 1 :]
        return bool(rest) and bool(_BUILDS.match(rest[0])) and not _GO_ON & set(rest)
    if name in _EXECUTORS:
        return bool(rest) and _builds_front_end(rest)
    if name in _TOLD:
        return bool({"build", "generate"} & set(rest)) and not _GO_ON & set(rest)
    return name in _BUILDERS and not _GO_ON & set(rest)


def _ends(words: Sequence[str], once: bool, again: bool) -> bool:
    if is_neutral(words) or (not again and {base(words[0]), *_called(words)} & (_FILE_TOOLS | _CLIENTS)):
        return True
    command = django_command(words)
    if command:
        return command in _DJANGO_ENDS or (once and command not in _DJANGO_SERVES)
    if _builds_front_end(words):
        return True
    if "db upgrade" in " ".join(words):
        # Flask-Migrate, by whatever command of the app's.
        return True
    script = words[1] if PYTHON.match(base(words[0])) and len(words) > 1 else words[0]
    names = [base(script), *_called(words)]
    return once and (base(words[0]) in _ENDS or any(map(_NAMED_SO.search, names)))


def ends_by_itself(service: Mapping[str, Any]) -> bool:
    """Whether a service's command says that it runs to completion: each of its commands ends, and one does something.

    More is believed of a service that is not to be started again (``restart: "no"``, ``on-failure``), a little more where
    nothing is said of that, which means the same to Compose.
    """
    policy = restart_of(service)
    # What has to be asked for by its profile, and is not started again, is asked for to do one thing.
    asked_for = not policy and bool(service.get("profiles"))
    once, again = policy in (NO, ON_FAILURE) or asked_for, policy in (ALWAYS, UNLESS_STOPPED)
    found = simple_commands(service.get("entrypoint"), service.get("command"))
    if not found or all(map(is_neutral, found)):
        return False
    return all(_ends(words, once, again) for words in found) or (not again and _hands_on(service, found))


def _hands_on(service: Mapping[str, Any], found: Sequence[Sequence[str]]) -> bool:
    """Whether the last command hands on what those before it made: whoever wrote that knows that they end."""
    words = {*words_of(service.get("entrypoint")), *_of_lines(service.get("command"))}
    serves = any(django_command(one) in _DJANGO_SERVES for one in found)
    return len(found) > 1 and base(found[-1][0]) in _HANDED_ON and not serves and not words & _NO_SEQUENCE
