# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``compose_rolling``: check everything first, then roll, then say what happened.

:func:`roll` returns what the module returns; :class:`BadInput` is raised before anything is touched.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..decide import preflight, rolling
from ..decide.change import changed_keys, fingerprint
from ..decide.nginx_config import Route, UnreadableConfig, load, routes
from ..decide.rolling import Stack, Step
from ..decide.services import (
    PROXY,
    ROLLED_KINDS,
    BadService,
    kind_of,
    longest_gap_note,
    objections,
    settings_of,
)
from . import processes
from .call_result import BadInput
from .compose import Compose, ComposeFailed
from .engine import Engine, EngineFailed, label_of, pid_of
from .files import FilesFailed, only_one, private_directory, read_json, secret_key, write_private
from .machine import HASH_LABEL, ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, ComposeMachine, Target
from .nginx import Nginx, NginxFailed
from .roller import Outcome, Roller, StepFailed

REVISION_LABEL = "org.opencontainers.image.revision"
PROJECT_ARGUMENTS: dict[str, Any] = {
    "project_src": {"type": "path", "required": True},
    "files": {"type": "list", "elements": "path", "default": []},
    "env_files": {"type": "list", "elements": "path", "default": []},
    "profiles": {"type": "list", "elements": "str", "default": []},
    "project_name": {"type": "str"},
    "state_dir": {"type": "path"},
}
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|KEY|DSN|URL|CREDENTIAL|AUTH", re.IGNORECASE)


@dataclass
class Timeline:
    """The steps as they were done; what is repeated without anything between is one entry."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    _last: tuple[str, tuple[str, ...]] = ("", ())
    _began: float = 0.0

    def add(self, step: Step, stack: Stack, began: float, seconds: float, failure: str) -> None:
        """Note a step; ``began`` is monotonic, ``seconds`` how long it took."""
        name = type(step).__name__.lower()
        ids: tuple[str, ...] = (
            getattr(step, "containers", ()) or getattr(step, "joining", ()) or getattr(step, "leaving", ())
        )
        known = {c.id: c for c in stack.containers}
        touched = [known[i] for i in ids if i in known]
        services = sorted({c.service for c in touched}) or [getattr(step, "service", "")]
        if isinstance(step, rolling.Start):
            services = [service for service, _count in step.create] or services
        key = (name, tuple(ids))
        if key == self._last and self.entries and not failure:
            self.entries[-1]["seconds"] = round(began + seconds - self._began, 3)
            return
        self._last, self._began = key, began
        moment = datetime.fromtimestamp(time.time() - seconds, timezone.utc)
        self.entries.append(
            {
                "step": name,
                "service": ", ".join(services),
                "container": ", ".join(c.name for c in touched),
                "started": moment.isoformat(timespec="milliseconds"),
                "seconds": round(seconds, 3),
                "result": "failed" if failure else "undone" if stack.goal == rolling.UNDO else "ok",
            }
        )


@dataclass
class Call:
    """Everything one call has found out before it starts."""

    compose: Compose
    engine: Engine
    project: dict[str, Any]
    hashes: dict[str, str]
    targets: list[Target]
    proxy_name: str
    state_dir: str
    allow_downtime: bool
    kinds: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.project["name"])

    def policy(self) -> rolling.Policy:
        action = "pause" if any(t.settings.failure_action == "pause" for t in self.targets) else "rollback"
        return rolling.Policy(tuple(t.settings.wanted(t.image, t.config_hash) for t in self.targets), action)


def connect(project_src: str) -> Engine:
    """The engine, when it and Compose are there and new enough.

    :raises BadInput: otherwise.
    """
    try:
        engine = Engine()
        complaints = preflight.too_old("Docker Engine", engine.version(), preflight.ENGINE_NEEDED)
    except EngineFailed as error:
        raise BadInput(str(error)) from error
    version = Compose(project_src).version()
    if not version:
        raise BadInput(
            "docker compose (v2) is missing on this host", "install docker-compose-v2 or docker-compose-plugin"
        )
    complaints += preflight.too_old("Docker Compose", version, preflight.COMPOSE_NEEDED)
    if complaints:
        raise BadInput(complaints[0])
    return engine


def compose_of(params: Mapping[str, Any]) -> Compose:
    """The Compose project that the project arguments name.

    :raises BadInput: a folder or file that is not there, a relative folder, a path that leaves it.
    """
    source = str(params["project_src"])
    if not os.path.isabs(source):
        raise BadInput(f"project_src {source} is relative", "write an absolute path: Compose hashes differ otherwise")
    if not os.path.isdir(source):
        raise BadInput(f"project_src {source} does not exist on this host", "see app_root and project_src")
    for option in ("files", "env_files"):
        for path in params.get(option) or []:
            if ".." in str(path).split("/"):
                raise BadInput(f"{option}: {path} leaves the project folder", "write a path without ..")
            if not os.path.isfile(os.path.join(source, path)):
                raise BadInput(f"{option}: {path} is not there in {source}")
    return Compose(
        source,
        tuple(params.get("files") or ()),
        tuple(params.get("env_files") or ()),
        tuple(params.get("profiles") or ()),
        str(params.get("project_name") or ""),
    )


def prepare(params: Mapping[str, Any]) -> Call:
    """Find out all that a roll needs, touching nothing.

    :param params: the module's arguments.
    :raises BadInput: anything that would make the roll fail or lose a request.
    """
    compose = compose_of(params)
    engine = connect(compose.project_src)
    try:
        project = compose.resolved()
        compose = Compose(compose.project_src, compose.files, compose.env_files, compose.profiles, str(project["name"]))
        hashes = compose.hashes(project)
    except ComposeFailed as error:
        raise BadInput(
            f"the Compose project in {compose.project_src} is not valid: {error}", "docker compose config shows it"
        ) from error
    services = project.get("services") or {}
    images = {n: engine.image(_image_name(project, n)) for n in services}
    asked = list(params.get("services") or [])
    for name in [*asked, *(params.get("service_options") or {})]:
        if name not in services:
            raise BadInput(f"there is no service {name} in the project; it has {', '.join(sorted(services))}")
    proxy_name, found = _proxy_of(engine, project, images, params)
    kinds = {n: _kind(n, s, images[n], params, found) for n, s in services.items()}
    names = asked or [n for n in services if kinds[n] in ROLLED_KINDS]
    call = Call(
        compose,
        engine,
        project,
        hashes,
        [],
        proxy_name,
        str(params.get("state_dir") or f"/var/lib/evenkeel/{project['name']}"),
        bool(params.get("allow_downtime")),
        kinds,
    )
    try:
        call.targets = _in_order([_target(n, call, images[n], params, found) for n in names])
    except BadService as error:
        raise BadInput(str(error)) from error
    _refuse_what_cannot_be(call, images, params)
    call.notes += _differing_others(call, images)
    return call


def _differing_others(call: Call, images: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Services outside this call that a plain ``docker compose up -d`` would recreate."""
    rolled = {t.settings.name for t in call.targets}
    found = {}
    for inspection in call.engine.containers({PROJECT_LABEL: call.name, ONE_OFF_LABEL: "False"}):
        name = label_of(inspection, SERVICE_LABEL)
        image = str((images.get(name) or {}).get("Id") or inspection["Image"])
        same = label_of(inspection, HASH_LABEL) == call.hashes.get(name) and inspection["Image"] == image
        if name in call.hashes and name not in rolled and not same:
            found[name] = (
                f"{name}: runs with another definition than this project has; a plain docker compose up -d recreates it"
            )
    return sorted(found.values())


def _image_name(project: Mapping[str, Any], name: str) -> str:
    return str(project["services"][name].get("image") or f"{project['name']}-{name}")


def _kind(
    name: str,
    service: Mapping[str, Any],
    image: Mapping[str, Any],
    params: Mapping[str, Any],
    found: Mapping[str, Route],
) -> str:
    option = ((params.get("service_options") or {}).get(name) or {}).get("kind") or (
        service.get("x-evenkeel") or {}
    ).get("kind")
    config = image.get("Config") or {}
    command = list(config.get("Entrypoint") or []) + list(config.get("Cmd") or [])
    return str(option or (rolling.WEB if name in found else kind_of(service, command)))


def names_of(name: str, service: Mapping[str, Any]) -> tuple[str, ...]:
    """The names by which other containers reach a service: its own and its network aliases."""
    aliases = [a for net in (service.get("networks") or {}).values() for a in (net or {}).get("aliases") or []]
    return tuple(dict.fromkeys([name, *aliases]))


def _proxy_of(
    engine: Engine, project: Mapping[str, Any], images: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any]
) -> tuple[str, dict[str, Route]]:
    """The service that is the running nginx, and the route to each service that it leads to."""
    if params.get("proxy_mode") == "none":
        return "", {}
    services = project["services"]
    name = str(params.get("proxy_service") or "")
    if name and name not in services:
        raise BadInput(f"proxy_service: there is no service {name}; the project has {', '.join(sorted(services))}")
    candidates = [name] if name else [n for n in services if _kind(n, services[n], images[n], params, {}) == PROXY]
    for candidate in candidates:
        for inspection in engine.containers({PROJECT_LABEL: str(project["name"]), SERVICE_LABEL: candidate}):
            if pid_of(inspection):
                return candidate, _routes_to_services(Nginx(engine, inspection), services)
    return "", {}


def _routes_to_services(nginx: Nginx, services: Mapping[str, Any]) -> dict[str, Route]:
    try:
        every = routes(load(nginx.dump()))
    except UnreadableConfig as error:
        raise BadInput(
            f"the configuration of {nginx.name} cannot be read safely: {error}",
            "change that line, or set proxy_mode: none if this service is not behind it",
        ) from error
    except NginxFailed as error:
        raise BadInput(str(error), f"docker exec {nginx.name} nginx -t") from error
    found: dict[str, Route] = {}
    for name, service in services.items():
        known = names_of(name, service)
        for route in every:
            if route.host in known and route.how == "proxy_pass":
                if not route.static_name:
                    raise BadInput(
                        f"{nginx.name} resolves {route.host} again while it runs (resolve), which this version cannot steer",
                        f"write proxy_pass http://{route.host}:{route.port}; without resolve",
                    )
                found.setdefault(name, route)
            elif route.host in known or (not route.static_name and re.search(rf"\b{re.escape(name)}\b", route.host)):
                raise BadInput(
                    f"{nginx.name} reaches {name} by {route.how} {route.host}, which this version cannot steer",
                    f"write proxy_pass http://{name}:PORT; with a plain name",
                )
    return found


def _target(
    name: str, call: Call, image: Mapping[str, Any], params: Mapping[str, Any], found: Mapping[str, Route]
) -> Target:
    service = call.project["services"][name]
    route = found.get(name)
    settings = settings_of(
        name,
        service,
        image.get("Config") or {},
        params,
        (params.get("service_options") or {}).get(name) or {},
        route.port if route else 0,
    )
    if settings.kind not in ROLLED_KINDS:
        raise BadService(
            f"{name} is a {settings.kind}, which is not replaced by this module; set kind under service_options if that is "
            f"wrong, or leave it out of services"
        )
    return Target(settings, str(image.get("Id") or ""), call.hashes.get(name, ""), route, names_of(name, service))


def _in_order(targets: Sequence[Target]) -> list[Target]:
    """Forward order: new workers know old tasks, so they come before the web that sends new ones."""
    ranks = {"worker": 0, "scheduler": 1, "web": 2}
    return sorted(targets, key=lambda t: ranks[t.settings.kind])


def _refuse_what_cannot_be(call: Call, images: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any]) -> None:
    running = call.engine.containers({PROJECT_LABEL: call.name})
    for target in call.targets:
        settings, name = target.settings, target.settings.name
        if not target.image:
            raise BadInput(
                f"{name}: the image {_image_name(call.project, name)} is not on this host", "build or pull it first"
            )
        complaints = objections(name, call.project["services"][name], settings, images[name].get("Config") or {})
        if complaints:
            raise BadInput(complaints[0])
        if settings.kind != rolling.WEB:
            continue
        serving = [i for i in running if label_of(i, SERVICE_LABEL) == name and pid_of(i)]
        if serving and target.route is None and params.get("proxy_mode") != "none":
            where = (
                f"{call.proxy_name} has no proxy_pass to {name}"
                if call.proxy_name
                else "no running nginx was found in the project"
            )
            raise BadInput(
                f"{name}: {where}, so requests could not be moved to the new container",
                "name it with proxy_service, or set proxy_mode: none if nobody reaches it through nginx",
            )
        if settings.order == rolling.STOP_FIRST and serving and not call.allow_downtime:
            raise BadInput(
                f"{name}: order stop-first takes the old one away before the new one is ready: a gap of its boot time",
                "use order: start-first, or allow it with allow_downtime: true",
            )
        note = longest_gap_note(settings)
        if note:
            call.notes.append(note)


def _room(engine: Engine) -> preflight.Room:
    total, available = processes.memory_of_machine()
    root = str(engine.info().get("DockerRootDir") or "/")
    while not os.path.isdir(root):
        root = os.path.dirname(root)
    disk = os.statvfs(root)
    return preflight.Room(total, available, disk.f_bavail * disk.f_frsize, disk.f_favail, root)


def _refuse_without_room(call: Call, machine: ComposeMachine, stack: Stack) -> None:
    extras = []
    for target in call.targets:
        view = rolling.view_of(stack, target.settings.wanted(target.image, target.config_hash))
        count = 0 if target.settings.order == rolling.STOP_FIRST else view.missing
        used = machine.memory_used(target.settings.name)
        extras.append(
            preflight.Extra(target.settings.name, count, used, target.settings.reservation, target.settings.limit)
        )
    if any(e.count for e in extras) or any(e.reserved for e in extras):
        missing = preflight.shortages(_room(call.engine), extras)
        if missing:
            raise BadInput(f"there is no room for this: {missing[0]}")


def version_name(engine: Engine, image: str) -> str:
    """How people call an image: the revision it is labelled with, else its short id."""
    labels = (engine.image(image).get("Config") or {}).get("Labels") or {}
    return str(labels.get(REVISION_LABEL) or image.split(":")[-1])[:12]


def _fingerprints(call: Call) -> dict[str, dict[str, str]]:
    key = secret_key(call.state_dir)
    return {t.settings.name: fingerprint(call.project["services"][t.settings.name], key) for t in call.targets}


def _diff(call: Call, stack: Stack) -> tuple[dict[str, str], list[str]]:
    """Ansible's before/after texts and the sentences: what is replaced, by what, and why."""
    before: list[str] = []
    after: list[str] = []
    sentences: list[str] = []
    known = os.path.join(call.state_dir, "configurations")
    for target in call.targets:
        name = target.settings.name
        view = rolling.view_of(stack, target.settings.wanted(target.image, target.config_hash))
        if not view.changing:
            continue
        reasons = []
        for old in view.old:
            if old.image != target.image:
                reasons.append(
                    f"image {version_name(call.engine, old.image)} -> {version_name(call.engine, target.image)}"
                )
            if old.config_hash != target.config_hash:
                recorded = read_json(os.path.join(known, f"{name}-{old.config_hash}.json"))
                keys: list[str] = []
                if recorded and os.path.isfile(os.path.join(call.state_dir, "fingerprint.key")):
                    fresh = fingerprint(call.project["services"][name], secret_key(call.state_dir))
                    keys = [k for k in changed_keys(recorded, fresh) if k != "image"]
                    reasons += [f"configuration: {', '.join(keys)}"] if keys else []
                elif old.image == target.image:
                    reasons.append("configuration (which keys is known from the next change on)")
            before.append(f"{name}: {old.name} {version_name(call.engine, old.image)} {old.config_hash[:12]}")
        if not reasons:
            reasons.append(f"{view.missing} missing" if view.missing else "not in rotation")
        after.append(
            f"{name}: {target.settings.replicas} x {version_name(call.engine, target.image)} {target.config_hash[:12]}"
        )
        replaced = ", ".join(c.name for c in view.old) or "nothing"
        sentences.append(f"{name}: {replaced} would be replaced ({'; '.join(dict.fromkeys(reasons))})")
    return {
        "before": "\n".join(before) + "\n" if before else "",
        "after": "\n".join(after) + "\n" if after else "",
    }, sentences


def roll(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call.

    :returns: what the module returns (``failed`` included when it failed).
    :raises BadInput: before anything is touched.
    """
    call = prepare(params)
    machine = ComposeMachine(call.compose, call.engine, call.name, call.targets, call.proxy_name)
    roller = Roller(machine, call.policy(), successes=max([t.settings.ready_successes for t in call.targets] or [1]))
    try:
        stack = roller.observe()
    except StepFailed as error:
        raise BadInput(str(error)) from error
    _refuse_without_room(call, machine, stack)
    diff, sentences = _diff(call, stack)
    if check_mode:
        pending = not isinstance(rolling.next_step(stack, call.policy()), rolling.Done)
        return _result(call, stack, pending, diff, [], "; ".join(sentences) or "nothing would be changed")
    try:
        private_directory(call.state_dir)
        with only_one(call.state_dir, f"compose_rolling of {call.name}"):
            return _roll_locked(call, machine, roller, diff)
    except FilesFailed as error:
        raise BadInput(str(error)) from error


def _roll_locked(call: Call, machine: ComposeMachine, roller: Roller, diff: dict[str, str]) -> dict[str, Any]:
    timeline = Timeline()
    last_words: dict[str, str] = {}

    def on_step(step: Step, stack: Stack, began: float, seconds: float, failure: str) -> None:
        timeline.add(step, stack, began, seconds, failure)
        if isinstance(step, rolling.Undo):
            last_words.update(_logs_of_the_new(call, stack))

    roller.on_step = on_step
    outcome = roller.run()
    known = private_directory(os.path.join(call.state_dir, "configurations"))
    if not outcome.failed:
        for name, prints in _fingerprints(call).items():
            write_private(
                os.path.join(known, f"{name}-{call.hashes[name]}.json"), json.dumps(prints, indent=1, sort_keys=True)
            )
    result = _result(call, outcome.stack, outcome.changed, diff if outcome.changed else {}, timeline.entries, "")
    result["msg"] = _message(call, outcome, last_words)
    if outcome.cut_connections:
        result["cut_connections"] = outcome.cut_connections
    if outcome.failed:
        result.update(failed=True, rolled_back=not outcome.refused)
        if last_words:
            result["log_files"] = _keep_logs(call, last_words)
    return result


def _result(
    call: Call, stack: Stack, changed: bool, diff: Mapping[str, str], timeline: list[dict[str, Any]], msg: str
) -> dict[str, Any]:
    serving = {
        t.settings.name: [
            {"container": c.name, "version": version_name(call.engine, c.image)}
            for c in stack.containers
            if c.service == t.settings.name and c.running
        ]
        for t in call.targets
    }
    result: dict[str, Any] = {
        "changed": changed,
        "timeline": timeline,
        "serving": serving,
        "msg": msg,
        "notes": call.notes,
        "kinds": call.kinds,
    }
    if diff.get("before") or diff.get("after"):
        result["diff"] = dict(diff)
    return result


def _serving_text(call: Call, stack: Stack) -> str:
    parts = []
    for target in call.targets:
        mine = [c for c in stack.containers if c.service == target.settings.name and c.running]
        versions = ", ".join(sorted({version_name(call.engine, c.image) for c in mine}))
        parts.append(
            f"{target.settings.name} {versions} ({', '.join(c.name for c in mine)})"
            if mine
            else f"{target.settings.name}: nothing"
        )
    return "; ".join(parts)


def _message(call: Call, outcome: Outcome, last_words: Mapping[str, str]) -> str:
    serving = _serving_text(call, outcome.stack)
    if not outcome.failed:
        cut = (
            f"; {outcome.cut_connections} connections did not end in time and were cut"
            if outcome.cut_connections
            else ""
        )
        return f"now serving: {serving}{cut}" if outcome.changed else f"already as wanted: {serving}"
    what = outcome.reason
    for name, text in last_words.items():
        lines = text.strip().splitlines()[-5:]
        what += f"\nLast log lines of {name}:\n  " + "\n  ".join(lines) if lines else ""
    now = (
        f"it stopped where it was: {serving}"
        if outcome.refused
        else f"undone, the version from before is serving and nothing of the new one is left: {serving}"
    )
    after = "correct the new version and run the same command again"
    if outcome.refused:
        after = f"docker compose --project-name {call.name} ps -a shows the containers; then run the same command again"
    return f"What: {what}\nNow: {now}\nNext: {after}"


def _logs_of_the_new(call: Call, stack: Stack) -> dict[str, str]:
    """The last log lines of what failed, without the values of secret-looking variables."""
    wanted = {t.settings.name: t for t in call.targets}
    found: dict[str, str] = {}
    for container in stack.containers:
        target = wanted.get(container.service)
        if target is None or not container.created_here or not (container.fault or container.ready_since is None):
            continue
        text = call.engine.logs(container.id, 200)
        environment = call.project["services"][container.service].get("environment") or {}
        for key, value in environment.items():
            if value and len(str(value)) > 5 and _SECRET_NAME.search(key):
                text = text.replace(str(value).replace("$$", "$"), f"<{key}>")
        found[container.name] = text
    return found


def _keep_logs(call: Call, last_words: Mapping[str, str]) -> list[str]:
    directory = private_directory(os.path.join(call.state_dir, "logs"))
    paths = []
    for name, text in last_words.items():
        path = os.path.join(directory, f"{name}.log")
        write_private(path, text)
        paths.append(path)
    return paths
