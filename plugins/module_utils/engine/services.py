# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Compose service is and how it wants to be replaced, read from its resolved definition.

Vocabulary is the Compose Specification's (``deploy.replicas``, ``deploy.update_config``, ``healthcheck``,
``stop_grace_period``); what it cannot say stands in ``x-evenkeel`` beside the service.
Later sources win: kind's default, Compose, ``x-evenkeel``, what a call says of all services, ``service_options``.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable

from ..base.values import seconds, size, whole
from .commands import words_of
from .kinds import Evidence, completed, judge
from .programs import BROKER, DATABASE, JOB, OTHER, PROXY, SCHEDULER, WEB, WORKER

KINDS = (WEB, WORKER, SCHEDULER, PROXY, DATABASE, BROKER, JOB, OTHER)
#: What a roll replaces, in the order in which it goes forward: new workers know old tasks, so they come before the web.
ROLLED_KINDS = (OTHER, WORKER, SCHEDULER, WEB)

OPTION_KEYS = (
    "kind",
    "order",
    "parallelism",
    "delay",
    "monitor",
    "failure_action",
    "ready_path",
    "ready_port",
    "ready_timeout",
    "ready_successes",
    "prove",
    "prove_seconds",
    "drain_timeout",
    "drain_policy",
    "stop_timeout",
    "publish",
)

START_FIRST = "start-first"

STOP_FIRST = "stop-first"


class BadService(Exception):
    """A service cannot be replaced as asked; the message says which, why, and what to write instead."""


@dataclass(frozen=True)
class Probe:
    """One question to a web service, and what counts as the right answer."""

    path: str
    status: int = 200
    contains: str = ""
    method: str = "GET"


@dataclass(frozen=True)
class Settings:
    """How one service is judged and replaced (seconds, bytes).

    ``usual_paths`` are asked in this order where nobody says how it is ready.
    """

    name: str
    kind: str
    replicas: int
    order: str
    parallelism: int
    delay: float
    monitor: float
    failure_action: str
    ready_path: str
    usual_paths: tuple[str, ...]
    ready_port: int
    ready_timeout: float
    ready_command: tuple[str, ...]
    ready_command_timeout: float
    ready_successes: int
    prove: tuple[Probe, ...]
    prove_seconds: float
    drain_timeout: float
    drain_policy: str
    stop_timeout: float
    stop_grace_period: float
    reservation: int
    limit: int


@dataclass(frozen=True)
class CommonSettings:
    """What a call says of all services that it replaces, each None where it says nothing. Times are seconds.

    :ivar prove: what each web service is asked, as :func:`probes` reads it.
    :ivar health_url: where the site says that it is well; its path is asked of a service that nobody says more of.
    :ivar canary: what is asked besides of ``canary_service``, of every web service where that is not given.
    """

    order: str | None = None
    parallelism: int | None = None
    delay: float | None = None
    monitor: float | None = None
    failure_action: str | None = None
    ready_path: str | None = None
    health_url: str | None = None
    ready_port: int | None = None
    ready_timeout: float | None = None
    prove: Sequence[Any] | None = None
    canary: Sequence[Any] | None = None
    canary_service: str | None = None
    prove_seconds: float | None = None
    drain_timeout: float | None = None
    drain_policy: str | None = None
    stop_timeout: float | None = None


def probes(entries: Any, where: str) -> tuple[Probe, ...]:
    """Read a ``prove`` or ``app_verify_paths`` list: paths, or dicts ``{path, status, contains, method}``.

    :raises BadService: an entry that is none.
    """
    result = []
    if isinstance(entries, (str, Mapping)):
        raise BadService(f"{where}: {entries!r} is no list; write - {{path: /api/, status: 200}}")
    for entry in entries or ():
        values = {"path": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
        path = str(values.get("path", ""))
        unknown = set(values) - {"path", "status", "contains", "method"}
        if not path.startswith("/") or unknown or any(c.isspace() for c in path):
            problem = f"unknown key {sorted(unknown)[0]!r}" if unknown else "a path that starts with / is needed"
            raise BadService(f"{where}: {entry!r} is no probe: {problem}; write {{path: /api/, status: 200}}")
        status, method = str(values.get("status") or 200), str(values.get("method") or "GET").upper()
        if not re.match(r"^[1-5]\d\d$", status) or not re.match(r"^[A-Z]+$", method):
            raise BadService(
                f"{where}: {entry!r} is no probe: status is a number such as 200, method a word such as GET"
            )
        result.append(Probe(path, int(status), str(values.get("contains") or ""), method))
    return tuple(result)


def asked_of(url: Any) -> str:
    """What a URL asks of its host: path and query."""
    parts = urllib.parse.urlsplit(str(url or ""))
    return urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))


_DEFAULTS: dict[str, dict[str, Any]] = {
    WEB: {"order": START_FIRST, "prove_seconds": 5.0, "monitor": 5.0, "drain_timeout": 60.0, "ready_timeout": 120.0},
    WORKER: {"order": START_FIRST, "prove_seconds": 0.0, "monitor": 3.0, "drain_timeout": 300.0, "ready_timeout": 60.0},
    SCHEDULER: {"order": STOP_FIRST, "prove_seconds": 0, "monitor": 2, "drain_timeout": 30, "ready_timeout": 60},
    OTHER: {"order": START_FIRST, "prove_seconds": 0, "monitor": 2, "drain_timeout": 0, "ready_timeout": 120},
}
#: Of what goes back: its code was found good before, and until it is there users meet what is wrong, and so do their tasks.
_BACKWARD = {WEB: {"prove_seconds": 2.0, "monitor": 2.0}, WORKER: {"monitor": 1.0}}


def chosen_kind(
    name: str, service: Mapping[str, Any], evidence: Evidence, options: Mapping[str, Any], port: int = 0
) -> str:
    """The kind that somebody wrote down, else web where the proxy leads, else what it looks like.

    :raises BadService: a kind or an option that is not known.
    """
    beside = service.get("x-evenkeel") or {}
    for source, given in ((f"x-evenkeel of {name}", beside), (f"service_options of {name}", options)):
        unknown = sorted(set(given) - set(OPTION_KEYS)) if isinstance(given, Mapping) else [str(given)]
        if unknown:
            raise BadService(f"{source}: unknown key {unknown[0]!r}; known are {', '.join(OPTION_KEYS)}")
    seen = judge(service, evidence).kind
    # nginx leads to the console of a store too, and two of a store never write to the same data; nor do two schedulers.
    alone = seen in (DATABASE, BROKER, SCHEDULER)
    kind = options.get("kind") or beside.get("kind") or (WEB if port and not alone else seen)
    if kind not in KINDS:
        raise BadService(f"{name}: kind {kind!r} is unknown; known are {', '.join(KINDS)}")
    return str(kind)


def replicas_of(service: Mapping[str, Any]) -> Any:
    """How many containers of a resolved service there are to be, as it is written."""
    deploy = service.get("deploy") or {}
    return next(n for n in (deploy.get("replicas"), service.get("scale"), 1) if n is not None)


def words_in(service: Mapping[str, Any], image: Mapping[str, Any]) -> list[str]:
    """The whole command line of a service, its image's entrypoint and command included, as words."""
    whole_one = completed(service, image)
    return words_of(whole_one["entrypoint"]) + words_of(whole_one["command"])


def _written(service: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """What a definition says of how its service is replaced: where Compose has a key for it, and in ``x-evenkeel``."""
    update = (service.get("deploy") or {}).get("update_config") or {}
    keys = ("order", "parallelism", "delay", "monitor", "failure_action")
    return {key: update.get(key) for key in keys}, service.get("x-evenkeel") or {}


def unsaid(values: Mapping[str, Any], service: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of which neither a service's definition nor its ``service_options`` say anything, so that they may be chosen."""
    said = (*_written(service), options)
    return {key: value for key, value in values.items() if all(layer.get(key) is None for layer in said)}


def settings_of(
    name: str,
    service: Mapping[str, Any],
    evidence: Evidence,
    common: CommonSettings,
    options: Mapping[str, Any],
    port: int = 0,
    proxied: bool = False,
    backward: bool = False,
) -> Settings:
    """Gather a service's settings.

    :param service: resolved definition, with its ``x-evenkeel`` block.
    :param evidence: what is known beside it; of its image's configuration the ``Healthcheck`` is asked too.
    :param common: what is said of all services.
    :param options: ``service_options`` of this service.
    :param port: the port nginx connects to, 0 when no proxy leads here, or to a UNIX socket.
    :param proxied: whether nginx leads here all the same.
    :param backward: whether an older version comes back.
    :raises BadService: unknown keys or values.
    """
    kind, image = chosen_kind(name, service, evidence, options, port or int(proxied)), evidence.image
    compose, beside = _written(service)
    deploy = service.get("deploy") or {}
    if kind == SCHEDULER:
        # Compose and the call say one order for every kind of service; a scheduler is never two at once.
        compose["order"], common = None, replace(common, order=None)
    usual = {**_DEFAULTS.get(kind, _DEFAULTS[WEB]), **(_BACKWARD.get(kind, {}) if backward else {})}
    layers = (usual, compose, beside, vars(common), options)

    def pick(key: str, default: Any = None) -> Any:
        values = [layer.get(key) for layer in layers if layer.get(key) is not None]
        return values[-1] if values else default

    try:
        grace = seconds(service.get("stop_grace_period"), 10.0)
        drain = seconds(pick("drain_timeout"))
        test, test_timeout = _health_command(service.get("healthcheck") or {}, image.get("Healthcheck") or {})
        resources = deploy.get("resources") or {}
        settings = Settings(
            name=name,
            kind=kind,
            replicas=whole(replicas_of(service), "replicas"),
            order=str(pick("order")),
            parallelism=whole(pick("parallelism", 0), "parallelism"),
            delay=seconds(pick("delay")),
            monitor=seconds(pick("monitor")),
            failure_action=str(pick("failure_action", "rollback")),
            ready_path=str(pick("ready_path", "")),
            usual_paths=tuple(dict.fromkeys((asked_of(common.health_url), "/"))),
            ready_port=whole(pick("ready_port", 0), "ready_port") or port,
            ready_timeout=_readiness(
                service.get("healthcheck") or {}, image.get("Healthcheck") or {}, pick, layers[1:]
            ),
            ready_command=test,
            ready_command_timeout=test_timeout,
            ready_successes=whole(pick("ready_successes", 2), "ready_successes"),
            prove=probes(pick("prove"), f"prove of {name}") + _canary(name, common),
            prove_seconds=seconds(pick("prove_seconds")),
            drain_timeout=drain,
            drain_policy=str(pick("drain_policy", "cut")),
            # A warm shutdown is as long as its tasks need: the grace period never cuts it short.
            stop_timeout=seconds(pick("stop_timeout"), max(grace, drain) if kind == WORKER else grace),
            stop_grace_period=grace,
            reservation=size((resources.get("reservations") or {}).get("memory") or service.get("mem_reservation")),
            limit=size((resources.get("limits") or {}).get("memory") or service.get("mem_limit")),
        )
    except ValueError as error:
        raise BadService(f"{name}: {error}") from error
    return _checked(settings)


def _canary(name: str, common: CommonSettings) -> tuple[Probe, ...]:
    """What is asked of one service besides what is always asked: of what a change is to mend, nobody's list knows yet."""
    if common.canary_service not in (None, "", name):
        return ()
    return probes(common.canary, "canary")


def _checked(settings: Settings) -> Settings:
    allowed = {
        "order": (START_FIRST, STOP_FIRST),
        "drain_policy": ("cut", "wait"),
        "failure_action": ("rollback", "pause"),
    }
    for key, values in allowed.items():
        value = getattr(settings, key)
        if value not in values:
            raise BadService(f"{settings.name}: {key} {value!r} is not supported; write one of {', '.join(values)}")
    if settings.replicas < 1:
        raise BadService(
            f"{settings.name}: replicas 0 switches it off, which is not replacing it; leave it out of services"
        )
    if settings.kind == SCHEDULER and (settings.order != STOP_FIRST or settings.replicas > 1):
        raise BadService(f"{settings.name}: a scheduler runs once at a time: order stop-first and one replica")
    if settings.ready_path and not settings.ready_path.startswith("/"):
        raise BadService(f"{settings.name}: ready_path {settings.ready_path!r} must start with /")
    return settings


def _health_command(own: Mapping[str, Any], inherited: Mapping[str, Any]) -> tuple[tuple[str, ...], float]:
    """The health command as an argv, and its timeout: the service's, what it leaves out from its image's."""
    # Images write nanoseconds; nothing and 0 both mean the engine's default.
    limit = seconds(own.get("timeout")) or float(inherited.get("Timeout") or 0) / 1e9 or 30.0
    test = own.get("test")
    if isinstance(test, str):
        test = ["CMD-SHELL", test]
    # Compose doubles dollar signs in what it prints, the container is to see single ones; an image's are as meant.
    words = [str(w).replace("$$", "$") for w in test] if test else [str(w) for w in inherited.get("Test") or []]
    if own.get("disable") or not words or words[0] == "NONE":
        return (), limit
    return ("/bin/sh", "-c", *words[1:]) if words[0] == "CMD-SHELL" else tuple(words[1:]), limit


def _readiness(
    own: Mapping[str, Any], inherited: Mapping[str, Any], pick: Callable[[str], Any], said: Sequence[Mapping[str, Any]]
) -> float:
    """For how many seconds a container may become ready; where nobody says, at least as long as its own health check has.

    The engine calls one unhealthy after its start period and as many intervals as it has retries (30 s and 3 without a word).
    """
    usual = seconds(pick("ready_timeout"))
    if any(layer.get("ready_timeout") is not None for layer in said) or own.get("disable"):
        return usual
    start, interval = (
        seconds(own.get(key)) or float(inherited.get(name) or 0) / 1e9
        for key, name in (("start_period", "StartPeriod"), ("interval", "Interval"))
    )
    retries = whole(own.get("retries") or inherited.get("Retries") or 3, "retries")
    return max(usual, start + retries * (interval or 30.0)) if own or inherited else usual


def longest_gap_note(settings: Settings) -> str | None:
    """A warning where a plain ``docker compose stop`` would cut what a roll waits for."""
    if settings.kind == WEB and settings.stop_grace_period < settings.drain_timeout / 6:
        return (
            f"{settings.name}: stop_grace_period is {settings.stop_grace_period:g} s while requests may take up to "
            f"{settings.drain_timeout:g} s: a plain docker compose stop would cut them"
        )
    return None
