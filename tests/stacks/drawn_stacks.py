# SPDX-License-Identifier: GPL-3.0-or-later
"""What a generated stack is drawn as by its seed: services of any names that need each other, nginx in front, and its life.

Nothing is started here: ``python -m tests.stacks.generated`` runs what is drawn on the real engine.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: What is started in the containers, by names that people's programs have: ``programs.py`` says what each does.
WEBS, WORKERS, SCHEDULERS = (
    ("gunicorn", "uvicorn", "daphne"),
    ("rqworker", "dramatiq", "arq"),
    ("supercronic", "rqscheduler"),
)
STORES, REST = ("postgres", "mongod"), ("flower", "mailpit")
#: Names that are parts of each other, with what Compose allows in one.
NAMES = {
    "web": ("api", "api-v2", "app", "app_api", "backend", "web.main", "site", "db-admin", "celery-web"),
    "worker": ("celery", "worker", "api-worker", "jobs", "web-worker", "default_queue"),
    "scheduler": ("beat", "celery-beat", "cron", "app-clock"),
    "database": ("db", "app-db", "postgres", "api_db"),
    "other": ("mail", "monitor", "api-flower"),
}
_PROGRAMS = {"web": WEBS, "worker": WORKERS, "scheduler": SCHEDULERS, "database": STORES, "other": REST}
#: How the published nginx leads to a service.
MODES = ("plain", "upstream", "resolver")
#: What befalls a stack; each is followed by a look at all that must hold.
OPERATIONS = ("update", "update", "bad", "bad", "back", "kill", "kill", "nginx", "person", "scale", "reboot")
#: What only a server of its own can go through. No life begins with it.
EXTERNAL = "reboot"
#: What changes which services there are.
CHANGES = ("grow", "shrink")


@dataclass(frozen=True)
class Drawn:
    """One stack and its life.

    :ivar services: definitions as in a Compose file, without what every version has.
    :ivar kinds: service → its kind; ``led``: nginx → path → service; ``modes``: nginx → how it leads.
    :ivar life: operations, one after the other, each with a number between 0 and 1 that says more of it.
    """

    seed: int
    services: Mapping[str, dict[str, Any]]
    kinds: Mapping[str, str]
    led: Mapping[str, Mapping[str, str]]
    modes: Mapping[str, str]
    life: tuple[tuple[str, float], ...]
    features: frozenset[str] = field(default_factory=frozenset)

    def of_kind(self, *kinds: str) -> list[str]:
        """Services of these kinds."""
        return [name for name in self.services if self.kinds[name] in kinds]

    @property
    def rolled(self) -> list[str]:
        """Services that have a version."""
        return self.of_kind("web", "worker", "scheduler", "other")


def draw(seed: int) -> Drawn:
    """Draw one stack."""
    rng = random.Random(seed)
    numbers = {
        "web": rng.choice([1, 1, 2]), "worker": rng.choice([0, 1, 1, 2]), "scheduler": rng.choice([0, 1]),
        "database": rng.choice([0, 1]), "other": rng.choice([0, 0, 1]),
    }  # fmt: skip
    kinds = {n: kind for kind, number in numbers.items() for n in rng.sample(NAMES[kind], number)}
    features = set()
    services = {name: _service(rng, name, kind, features) for name, kind in kinds.items()}
    _depend(rng, services, kinds, features)
    webs = [n for n, kind in kinds.items() if kind == "web"]
    led, modes = {"front": {"/": webs[0]}}, {"front": rng.choice(MODES)}
    if len(webs) > 1:
        led["front"]["/second/"] = webs[1]
        features.add("two services behind one nginx")
    if rng.random() < 0.3:
        led["edge"], modes["edge"] = {"/": "front"}, rng.choice(MODES)
        features.add("an nginx behind another")
    features |= {f"nginx: {mode}" for mode in modes.values()}
    if rng.random() < 0.3:
        _divide(services, kinds)
        features.add("two networks")
    life = [(rng.choice(OPERATIONS[: None if number else -1]), rng.random()) for number in range(3)]
    if rng.random() < 0.06:
        name = rng.choice([n for n, kind in kinds.items() if kind in ("web", "worker")])
        services[name]["volumes"] = ["/kept"]
        life = [("refused", 0.0)]
    if EXTERNAL in dict(life):
        for name in (n for n, kind in kinds.items() if kind == "database"):
            # Nobody but its owner starts what has ended for good.
            services[name]["restart"] = "always"
    if rng.random() < 0.25 and "refused" not in dict(life):
        life.insert(rng.randrange(len(life) + 1), (rng.choice(CHANGES), rng.random()))
    features |= {f"life: {name}" for name, _how in life}
    return Drawn(seed, services, kinds, led, modes, tuple(life), frozenset(features))


def grown(drawn: Drawn, how: float) -> tuple[Drawn, str]:
    """The stack with a service more, to which nginx does not lead, and the service's name."""
    rng = random.Random(how)
    kind = rng.choice(["web", "web", "worker", "scheduler", "other"])
    name = rng.choice([n for n in NAMES[kind] if n not in drawn.services])
    one, kinds = {name: _service(rng, name, kind, set())}, {**drawn.kinds, name: kind}
    if "two networks" in drawn.features:
        _divide(one, kinds)
    if rng.random() < 0.5:
        one[name]["depends_on"] = [rng.choice(list(drawn.services))]
    return replace(drawn, services={**drawn.services, **one}, kinds=kinds), name


def led_to(drawn: Drawn, name: str) -> Drawn:
    """The stack with an nginx that leads to a web service more."""
    return replace(drawn, led={**drawn.led, "front": {**drawn.led["front"], f"/{name}/": name}})


def shrunk(drawn: Drawn, how: float) -> tuple[Drawn, str]:
    """The stack without one of its services, which nothing depends on any more, and the service's name; empty if it needs all."""
    first = drawn.led["front"]["/"]
    may_go = [n for n in drawn.rolled if n != first]
    if not may_go:
        return drawn, ""
    gone = may_go[int(how * len(may_go))]
    services: dict[str, dict[str, Any]] = {}
    for name, one in drawn.services.items():
        needed = one.get("depends_on") or []
        left = (
            {n: needed[n] for n in needed if n != gone}
            if isinstance(needed, dict)
            else [n for n in needed if n != gone]
        )
        services[name] = {**one, **({"depends_on": left} if needed else {})}
    del services[gone]
    front = {path: name for path, name in drawn.led["front"].items() if name != gone}
    return replace(drawn, services=services, led={**drawn.led, "front": front}), gone


def _divide(services: dict[str, dict[str, Any]], kinds: Mapping[str, str]) -> None:
    """Let only web services be where nginx is, and in a second network with all others."""
    for name, one in services.items():
        first = one.pop("networks", {}).get("default") or {}
        one["networks"] = {"inner": first, **({"default": {}} if kinds[name] == "web" else {})}


def _service(rng: random.Random, name: str, kind: str, features: set[str]) -> dict[str, Any]:
    program = rng.choice(_PROGRAMS[kind])
    command = ["python", "-u", f"/programs/{program}"]
    one: dict[str, Any] = {
        "command": rng.choice([command, ["sh", "-c", " ".join(["exec", *command])], " ".join(command)])
    }
    policy = rng.choice(["", "no", "always", "unless-stopped", "on-failure"])
    if policy:
        one["restart"] = policy
        features.add(f"restart: {policy}")
    if rng.random() < 0.4:
        one["x-evenkeel"] = {"kind": kind}
        features.add("kind written down")
    if kind in ("web", "worker") and rng.random() < 0.3:
        one["deploy"] = {"replicas": rng.choice([2, 3])}
        features.add("replicas")
    if kind == "web" and rng.random() < 0.2:
        # Cheap and seldom: a dozen containers that are asked each second leave nothing for what is to be judged.
        ask = "import socket; socket.create_connection(('127.0.0.1', 8000), 2)"
        test = ["CMD", "python", "-S", "-c", ask]
        one["healthcheck"] = {
            "test": test,
            "interval": "5s",
            "start_period": "10s",
            "start_interval": "1s",
            "retries": 3,
        }
        features.add("healthcheck")
    if rng.random() < 0.2:
        one["networks"] = {"default": {"aliases": [f"{name}-alias"]}}
        features.add("alias")
    if kind in ("scheduler", "database"):
        # Nothing replaces a database, so it may have a volume that nobody named.
        nameless = kind == "database" and rng.random() < 0.5
        one["volumes"] = ["/alone" if nameless else f"alone-{name}:/alone"]
        features.add("anonymous volume" if nameless else "volume of one")
    return one


def _depend(
    rng: random.Random, services: dict[str, dict[str, Any]], kinds: Mapping[str, str], features: set[str]
) -> None:
    """Let services depend on each other in any direction, without a circle."""
    order = rng.sample(list(services), len(services))
    for number, name in enumerate(order):
        needed = [other for other in order[:number] if rng.random() < 0.4]
        if not needed:
            continue
        services[name]["depends_on"] = needed
        features |= {f"{kinds[name]} needs {kinds[other]}" for other in needed}
        if any("healthcheck" in services[other] for other in needed) and rng.random() < 0.5:
            services[name]["depends_on"] = {
                other: {"condition": "service_healthy" if "healthcheck" in services[other] else "service_started"}
                for other in needed
            }
            features.add("waits for health")
