# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python an image is asked with: it may be called python, python3 alone, or live in a virtual environment."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from ...base.host import processes
from .engine import Engine
from .inspection import PROJECT_LABEL, SERVICE_LABEL, pid_of

#: What is printed where an image has none.
MISSING = "no python here"
_NAMES = ("python", "python3")
_PYTHON = re.compile(r"(python|pypy)[\d.]*$")
_HAS_DJANGO = "import importlib.util as u, sys; sys.exit(u.find_spec('django') is None)"


def those_that_run(engine: Engine, project: str, service: str) -> tuple[str, ...]:
    """Where the containers of a service have the Python that runs in them, as paths in their image."""
    found: list[str] = []
    for inspection in engine.containers({PROJECT_LABEL: project, SERVICE_LABEL: service}):
        for process in processes.tree(pid_of(inspection) or 0):
            found += _paths(processes.words(process.pid), processes.environment(process.pid))
    return tuple(dict.fromkeys(found))


def _paths(words: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    if words and _PYTHON.search(words[0]):
        # Another version of the app may have another version of Python in the same place.
        beside = [os.path.join(os.path.dirname(words[0]), name) for name in _NAMES]
        activated = [os.path.join(environment.get("VIRTUAL_ENV", ""), "bin/python")]
        yield from (path for path in (*beside, *activated) if path.startswith("/"))


def run_by(service: str, others: Sequence[str] = (), django: bool = True, manage_py: str = "") -> list[str]:
    """The words of ``docker compose run`` for a service's Python, before those for Python itself.

    :param others: paths to try where neither name will do; see :func:`those_that_run`.
    :param django: whether it has to be one that has Django, as far as there is one.
    :param manage_py: what it is to run; of an absolute path the folder is where it runs.
    """
    where = ["--workdir", os.path.dirname(manage_py)] if manage_py.startswith("/") else []
    return [*where, "--entrypoint", "sh", service, *words_for(others, django)[1:]]


def words_for(others: Sequence[str] = (), django: bool = False) -> list[str]:
    """The same for a command in a container: a shell that the first Python takes the place of."""
    tried = " ".join([*_NAMES, '"${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}"', *map(shlex.quote, others)])
    check = f'"$p" -c {shlex.quote(_HAS_DJANGO)} </dev/null >/dev/null 2>&1' if django else "true"
    script = (
        f'first=; for p in {tried}; do command -v "$p" >/dev/null 2>&1 || continue; first=${{first:-$p}}; '
        f'{check} && exec "$p" "$@"; done; test "$first" && exec "$first" "$@"; echo {shlex.quote(MISSING)} >&2; exit 127'
    )
    return ["sh", "-c", script, "sh"]
