# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that run to completion: which they are, when and in which order they run, and which Django does by itself.

In a release's ``compose.yaml`` they have a profile of their own and nobody depends on them any more: neither a roll nor
an admin's plain ``docker compose up -d`` starts one, ``docker compose run --rm NAME`` still does. Where a proxy that was
started by hand depends on one it goes on doing so, and the job has no replicas instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .commands import django_command, is_neutral, simple_commands
from .kinds import Evidence, judge, kind_without_image
from .programs import BROKER, DATABASE, JOB, PROXY
from .restart import NO, restart_of

PROFILE = "evenkeel-jobs"
COMPLETED = "service_completed_successfully"
BEFORE, AFTER, ALL = "before", "after", "all"
POINTS = (BEFORE, AFTER, ALL)
#: What an update does itself, judged and in its place.
_TAKEN_OVER = frozenset({"migrate", "collectstatic", "check"})
#: Where it says nothing of its own, what a service is called tells something too.
_NAMES = ("build", "migrat", "setup", "seed", "collectstatic", "bundle", "compile", "init", "job")
#: On a job that nobody starts because it has no replicas: something that is never replaced was made depending on it.
_HELD = "x-evenkeel-held"
# Nothing of these changes what a job does.
_NOT_THE_JOB = (
    "build",
    "x-evenkeel",
    _HELD,
    "depends_on",
    "pull_policy",
    "profiles",
    "restart",
    "scale",
    "deploy",
    "labels",
)


class BadJob(Exception):
    """A job cannot be run as it is written; the message says what to write instead."""


def _beside(service: Mapping[str, Any]) -> Mapping[str, Any]:
    block = service.get("x-evenkeel")
    return block if isinstance(block, Mapping) else {}


def dependencies(service: Mapping[str, Any]) -> dict[str, str]:
    """What a service depends on, and on which condition."""
    given = service.get("depends_on") or {}
    if isinstance(given, Mapping):
        return {name: str((how or {}).get("condition") or "service_started") for name, how in given.items()}
    return dict.fromkeys(map(str, given), "service_started")


def jobs_of(project: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> list[str]:
    """The services of a resolved project that run to completion, sorted.

    Known without their images: by what somebody wrote down (``service_options``, ``x-evenkeel``), by what waits for
    their end (``service_completed_successfully``), by their command, and where there is none by name and ``restart: "no"``.
    """
    services = project.get("services") or {}
    awaited = {n for s in services.values() for n, condition in dependencies(s).items() if condition == COMPLETED}
    return sorted(n for n, s in services.items() if _is_job(n, s, n in awaited, (options or {}).get(n)))


def _is_job(name: str, service: Mapping[str, Any], awaited: bool, options: Any) -> bool:
    given = (options if isinstance(options, Mapping) else {}).get("kind") or _beside(service).get("kind")
    if given or awaited:
        return str(given or JOB) == JOB
    silent = not service.get("command") and not service.get("entrypoint")
    serves = any(service.get(key) for key in ("ports", "expose", "healthcheck"))
    if silent and not serves and restart_of(service) == NO and any(n in name.lower() for n in _NAMES):
        return True
    return judge(service, Evidence()).kind == JOB


def set_apart(
    project: Mapping[str, Any], options: Mapping[str, Any] | None = None, serving: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The project with its jobs out of everybody's way: in a profile of their own, and depended on by jobs only.

    :param serving: the project that serves now. A database, broker or proxy of it that depends on a job goes on doing so:
        the hash by which Compose 2.26 knows its container is of ``depends_on`` too, and another one is another container.
    """
    result: dict[str, Any] = json.loads(json.dumps(project))
    jobs = jobs_of(project, options)
    depending, held = _held(result.get("services") or {}, jobs, (serving or {}).get("services") or {})
    for name, service in (result.get("services") or {}).items():
        if name in jobs:
            service["x-evenkeel"] = {**_beside(service), **((options or {}).get(name) or {}), "kind": JOB}
            if name in held:
                service.update({_HELD: True, "deploy": {**(service.get("deploy") or {}), "replicas": 0}})
            else:
                service["profiles"] = [PROFILE]
        if name in depending or name in jobs:
            continue
        kept = service.get("depends_on") or {}
        if isinstance(kept, Mapping):
            service["depends_on"] = {n: how for n, how in kept.items() if n not in jobs}
        else:
            service["depends_on"] = [n for n in kept if n not in jobs]
        if not service["depends_on"]:
            del service["depends_on"]
    return result


def _held(services: Mapping[str, Any], jobs: Collection[str], serving: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Which services go on depending on jobs, and on which: those of these too."""
    depending = set()
    for name, service in services.items():
        mine = set(dependencies(service)) & set(jobs)
        runs = (serving.get(name) or {}).get("depends_on") == service.get("depends_on")
        if mine and kind_without_image(service) in (DATABASE, BROKER, PROXY):
            known = runs and not any(is_off(services[job]) for job in mine)
            depending |= {name} if known or all(services[job].get(_HELD) for job in mine) else set()
    held: set[str] = set()
    left = [job for name in depending for job in dependencies(services[name])]
    while left:
        job = left.pop()
        if job in jobs and job not in held:
            held.add(job)
            left += dependencies(services[job])
    return depending, held


def in_order(project: Mapping[str, Any], names: Collection[str]) -> list[str]:
    """Jobs so that each comes after those it depends on.

    :raises BadJob: they wait for each other.
    """
    services = project["services"]
    result: list[str] = []
    left = sorted(names)
    while left:
        free = [n for n in left if not set(dependencies(services[n])) & set(left)]
        if not free:
            raise BadJob(f"{' and '.join(left)} depend on each other; remove one of the lines under depends_on")
        result.append(free[0])
        left.remove(free[0])
    return result


def point_of(project: Mapping[str, Any], name: str, kinds: Mapping[str, str], seen: Collection[str] = ()) -> str:
    """When a job runs: before the roll, or after it where it depends on what only then is the new version.

    Database and broker run before it as well, on the first deployment too; everything else may not.
    """
    for dependency in dependencies(project["services"][name]):
        kind = kinds.get(dependency, JOB)
        if kind != JOB and kind not in (DATABASE, BROKER):
            return AFTER
        inside = dependency in project["services"] and dependency not in seen
        if kind == JOB and inside and point_of(project, dependency, kinds, [*seen, name]) == AFTER:
            return AFTER
    return BEFORE


def is_off(service: Mapping[str, Any]) -> bool:
    """Whether a service is switched off by its number of replicas; a job that is set apart by that is not."""
    return not service.get(_HELD) and 0 in ((service.get("deploy") or {}).get("replicas"), service.get("scale"))


@dataclass(frozen=True)
class Django:
    """What a job does with ``manage.py``: these commands, and what else."""

    commands: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def taken_over(self) -> bool:
        """Whether it does nothing but what an update does itself."""
        return bool(self.commands) and not self.others and set(self.commands) <= _TAKEN_OVER


def django_of(service: Mapping[str, Any], image: Mapping[str, Any]) -> Django:
    """Read a job's command, completed by its image's.

    :param image: the image's configuration (``Cmd``, ``Entrypoint``), empty when unknown.
    """
    entrypoint, command = service.get("entrypoint"), service.get("command")
    found = simple_commands(
        entrypoint or image.get("Entrypoint"), command or (None if entrypoint else image.get("Cmd"))
    )
    named = [django_command(words) for words in found]
    # What stands there may hold a secret: only the program is ever told.
    others = [words[0] for words, name in zip(found, named) if not name and not is_neutral(words)]
    return Django(tuple(name for name in named if name), tuple(others))


def refuse_mixed(name: str, django: Django, collects: bool) -> None:
    """Refuse a job that migrates beside other things: an update judges and runs migrations in their own place.

    :param collects: its static files go where only it can put them.
    :raises BadJob: it does.
    """
    if "migrate" not in django.commands or (django.taken_over and not collects):
        return
    own = {"migrate", "check"} if collects else _TAKEN_OVER
    others = [*(f"manage.py {c}" for c in django.commands if c not in own), *django.others]
    raise BadJob(
        f"{name} migrates the database and does something else as well ({', '.join(dict.fromkeys(others))}); the update runs "
        f"migrations itself, where they belong: take manage.py migrate out of the command of {name}, or give it a service of "
        f"its own, which is then left to the update"
    )


def identity(service: Mapping[str, Any], image: str) -> str:
    """What a job is in a release: another definition, environment or image is another run."""
    shown = {key: value for key, value in service.items() if key not in _NOT_THE_JOB}
    text = json.dumps([shown, image], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def has_run(record: Mapping[str, Any], wanted: str, volumes: Sequence[str], there: Collection[str]) -> bool:
    """Whether a job has run already for this release, and what it made is still there.

    :param record: what was written down of its last run.
    :param volumes: the volumes that hold what it made; ``there`` are those of this host.
    """
    return record.get("identity") == wanted and all(volume in there for volume in volumes)
