# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll tells: its timeline, what differs, what serves, and what/now/next for a person at night."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from ...base.host import known_secrets
from ...base.host.files import private_directory, write_private
from ...celery.host.tasks_aside import recorded, summed
from ...engine.host.configurations import keys_that_differ
from ...engine.host.engine import Engine
from ...engine.host.log_tail import Writer, since_the_change
from ...releases.project import REVISION_LABEL
from .. import steps
from ..rest_of_stack import Rest
from ..stack import UNDO, Stack, view_of
from ..steps import Step
from . import spares
from .chosen_strategy import ROLLING
from .plan import Call
from .roller import Outcome


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
        services = sorted({c.service for c in touched}) or list(steps.services_of(step))
        if isinstance(step, steps.Start):
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
                "result": "failed" if failure else "undone" if stack.goal == UNDO else "ok",
            }
        )


def version_name(engine: Engine, image: str) -> str:
    """How people call an image: the revision it is labelled with, else its short id."""
    labels = (engine.image(image).get("Config") or {}).get("Labels") or {}
    return str(labels.get(REVISION_LABEL) or image.split(":")[-1])[:12]


@dataclass(frozen=True)
class Replaced:
    """A service whose containers are replaced, the names of the old ones, why, and how users are led to the new ones."""

    service: str
    old: tuple[str, ...]
    reasons: tuple[str, ...]
    order: str
    strategy: str = ""

    def sentence(self) -> str:
        """The same for people."""
        why = "; ".join([*self.reasons, *([self.strategy] if self.strategy else [])])
        return f"{self.service}: {', '.join(self.old) or 'nothing'} would be replaced ({why})"


def difference(call: Call, stack: Stack) -> tuple[dict[str, str], list[Replaced]]:
    """Ansible's before/after texts, and what is replaced, by what, and why."""
    before: list[str] = []
    after: list[str] = []
    found: list[Replaced] = []
    for target in call.targets:
        name = target.settings.name
        view = view_of(stack, target.wanted)
        if not view.changing:
            continue
        reasons = []
        if target.removed:
            before.append(f"{name}: {', '.join(c.name for c in view.old)}")
            continue
        for old in view.old:
            if old.image != target.image:
                reasons.append(
                    f"image {version_name(call.engine, old.image)} -> {version_name(call.engine, target.image)}"
                )
            if old.config_hash != target.config_hash:
                keys = keys_that_differ(call.state_dir, name, old.config_hash, call.project["services"][name])
                if keys:
                    reasons.append(f"configuration: {', '.join(keys)}")
                elif keys is None and old.image == target.image:
                    reasons.append("configuration (which keys is known from the next change on)")
            if old.created < target.newer_than:
                reasons.append("a restart was asked for")
            before.append(f"{name}: {old.name} {version_name(call.engine, old.image)} {old.config_hash[:12]}")
        if not reasons:
            reasons.append(
                f"{view.missing} missing" if view.missing else "fetches no tasks" if view.paused else "not in rotation"
            )
        after.append(
            f"{name}: {target.settings.replicas} x {version_name(call.engine, target.image)} {target.config_hash[:12]}"
        )
        old_names = tuple(c.name for c in view.old)
        why, order = tuple(dict.fromkeys(reasons)), target.settings.order
        found.append(Replaced(name, old_names, why, order, call.strategies.get(name, "")))
    return {
        "before": "\n".join(before) + "\n" if before else "",
        "after": "\n".join(after) + "\n" if after else "",
    }, found


def result_of(
    call: Call,
    stack: Stack,
    changed: bool,
    diff: Mapping[str, str],
    timeline: list[dict[str, Any]],
    msg: str,
    replaced: Sequence[Replaced] = (),
) -> dict[str, Any]:
    serving = {
        t.settings.name: [
            {"container": c.name, "version": version_name(call.engine, c.image)}
            for c in stack.containers
            if c.service == t.settings.name and c.running
        ]
        for t in call.targets
        if not t.removed
    }
    result: dict[str, Any] = {
        "changed": changed,
        "timeline": timeline,
        "serving": serving,
        "msg": msg,
        "notes": call.notes,
        "kinds": call.kinds,
        "ways": call.strategies,
        "replaced": [
            {"service": one.service, "order": one.order, "reasons": list(one.reasons), "strategy": one.strategy}
            for one in replaced
        ],
        "memory": dict(call.memory),
        "gap": dict(call.gap),
        "spares": spares.still_there(
            call.state_dir, {c.id for c in stack.containers if c.running and not c.in_rotation}
        ),
        "tasks_aside": sorted(summed(recorded(call.state_dir))),
        "rest": {key: list(names) for key, names in asdict(call.rest).items()},
        "images": {
            t.settings.name: sorted({c.image for c in stack.containers if c.service == t.settings.name and c.running})
            for t in call.targets
        },
    }
    if diff.get("before") or diff.get("after"):
        result["diff"] = dict(diff)
    return result


def rest_sentences(rest: Rest, kinds: Mapping[str, str]) -> list[str]:
    """What would be done about the services that are not replaced one beside the other."""
    gap = "would be created anew, with a gap"
    lines = [f"{n} ({kinds.get(n)}): would be started" for n in (*rest.start, *rest.start_last)]
    lines += [f"{n} ({kinds.get(n)}): {gap}" for n in (*rest.recreate, *rest.recreate_last)]
    lines += [f"{n} ({kinds.get(n)}): would be replaced, its ports handed over without a gap" for n in rest.handed]
    return lines + [f"{n}: would be taken away, since the project no longer has it" for n in rest.removed]


def _serving_text(call: Call, stack: Stack) -> str:
    """What serves, by version: ``3f2c1ab (api, celery); nothing (celery-beat)``."""
    versions: dict[str, list[str]] = {}
    for target in call.targets:
        mine = {c.image for c in stack.containers if c.service == target.settings.name and c.running}
        names = sorted({version_name(call.engine, image) for image in mine}) or ["nothing"]
        versions.setdefault(" and ".join(names), []).append(target.settings.name)
    return "; ".join(f"{version} ({', '.join(sorted(names))})" for version, names in versions.items())


def message(call: Call, outcome: Outcome, log_tail: Mapping[str, str]) -> str:
    serving = _serving_text(call, outcome.stack)
    if not outcome.failed:
        cut = (
            f"; {outcome.cut_connections} connections did not end in time and were cut"
            if outcome.cut_connections
            else ""
        )
        if outcome.cut_tasks:
            cut += f"; {outcome.cut_tasks} tasks did not end within drain_timeout and were told to"
        kept = spares.read(call.state_dir)
        if kept.containers and call.strategy != ROLLING:
            cut += f"; {', '.join(sorted(kept.containers.values()))} of before can take over again at once, until {kept.ends} (rollback)"
        return f"now serving: {serving}{cut}" if outcome.changed else f"already as wanted: {serving}"
    what = outcome.reason
    for name, text in log_tail.items():
        lines = text.strip().splitlines()[-(call.log_lines or 5) :]
        what += f"\nLast log lines of {name}:\n  " + "\n  ".join(lines) if lines else ""
    current = {t.settings.name for t in call.targets for c in outcome.stack.containers if c.running and t.is_of(c)}
    left = ", ".join(sorted(call.left & current))
    rest = f"newer workers of {left} go on until they are brought back" if left else "nothing of the new one is left"
    now = (
        f"it stopped where it was: {serving}"
        if outcome.refused
        else f"undone, the version from before is serving and {rest}: {serving}"
    )
    after = "correct the new version and run the same command again"
    if outcome.reason.endswith("ended with exit code 0"):
        after = "if it is to run to its end, write x-evenkeel: {kind: job} beside it; then run the same command again"
    if outcome.refused:
        after = f"docker compose --project-name {call.name} ps -a shows the containers; then run the same command again"
    return f"What: {what}\nNow: {now}\nNext: {after}"


def logs_of_the_new(call: Call, stack: Stack) -> dict[str, str]:
    """The last log lines of what failed; where no container did, of what was not ready yet."""
    wanted = {t.settings.name for t in call.targets}
    new = [c for c in stack.containers if c.service in wanted and c.created_here]
    failed = [c for c in new if c.fault] or [c for c in new if c.ready_since is None]
    return {c.name: call.engine.logs(c.id, 200) for c in failed}


def said_by_the_new(call: Call, stack: Stack) -> list[str]:
    """What the containers that this roll has made have written, as much of it as is asked for."""
    services = call.project["services"]
    new = [c for c in stack.containers if c.created_here and c.running and c.service in services]
    return since_the_change(call.engine, [Writer(c.id, c.name) for c in new], call.log_lines)


def keep_logs(call: Call, log_tail: Mapping[str, str]) -> list[str]:
    directory = private_directory(os.path.join(call.state_dir, "logs"))
    paths = []
    for name, text in log_tail.items():
        path = os.path.join(directory, f"{name}.log")
        write_private(path, known_secrets.masked_text(text))
        paths.append(path)
    return paths
