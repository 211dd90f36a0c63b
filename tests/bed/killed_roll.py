# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the real reconciler on the real machine and kill it with -9 at one exact place.

``python -m tests.bed.killed_roll PARAMETERS.json PLACE`` where a place is ``before:Start``, ``after:Join`` and so
on for each kind of step (as it is met the first time), ``inside:Start`` (created, not started), ``inside:Join``
(pinned, not reloaded), ``inside:Remove`` (one of them removed), or ``undo:Stop`` (after it, on the way back).
Ends by SIGKILL; exit code 3 when the place was never met, so that a test cannot pass by missing it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import compose_rolling
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host import nginx
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host import machine, roller
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import UNDO
from tests.bed.shop import BedError, Shop

PLACES = (
    "before:Start", "inside:Start", "after:Start", "after:AwaitReady", "after:Prove", "after:Quiesce", "inside:Join",
    "after:Join", "before:Drain", "before:Stop", "after:Stop", "inside:Remove", "before:Unpin",
)  # fmt: skip
#: The same places met one after the other by two rolls: each run takes up what the killed one before it left.
CHAINS = (
    ("before:Start", "after:Start", "after:Prove", "after:Join", "before:Drain", "after:Stop", "before:Unpin"),
    ("inside:Start", "after:AwaitReady", "after:Quiesce", "inside:Join", "before:Stop", "inside:Remove"),
)
#: The same on the way back from a version that was found out before nginx knew it.
UNDO_PLACES = ("undo:Undo", "undo:Quiesce", "undo:Stop", "undo:Remove", "undo:Unpin")
#: Short proofs, so that a killed run and its successor take seconds.
QUICK = {"api": {"prove_seconds": 0.5, "monitor": 0.5}, "celery": {"monitor": 0.5}}


def die(*_args: Any, **_kwargs: Any) -> Any:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(place: str) -> None:
    """Make the run end at a place."""
    when, _colon, kind = place.partition(":")
    perform = roller.Roller.perform

    def performed(self: roller.Roller, step: Any, stack: Any) -> None:
        met = type(step).__name__ == kind
        if met and when == "before":
            die()
        perform(self, step, stack)
        if met and (when == "after" or (when == "undo" and self.goal == UNDO)):
            die()

    roller.Roller.perform = performed  # type: ignore[method-assign]
    if place == "inside:Start":
        machine.Engine.start = die  # type: ignore[method-assign]
        machine.start_closed = die
    elif place == "inside:Join":
        nginx.Nginx.reload = die  # type: ignore[method-assign]
    elif place == "inside:Remove":
        remove = machine.Engine.remove

        def removed(self: Any, container_id: str, **options: Any) -> None:
            remove(self, container_id, **options)
            die()

        machine.Engine.remove = removed  # type: ignore[method-assign]


def release_of(shop: Shop, version: str) -> Path:
    """The newest release that a shop has of a version."""
    manifests = sorted(shop.root.glob("releases/*/.evenkeel/manifest.json"))
    return [m for m in manifests if json.loads(m.read_text(encoding="utf-8"))["version"] == version][-1].parents[1]


def parameters(shop: Shop, version: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a call of the module is told to roll a shop to a release that it has."""
    release, state = release_of(shop, version), shop.root / ".evenkeel"
    return {"project_src": str(release), "state_dir": str(state), "service_options": options}


def kill_roll(shop: Shop, version: str, place: str, options: Mapping[str, Any]) -> None:
    """Begin to roll a shop to a release that it has of a version, and be killed at a place."""
    kill_call(shop, "tests.bed.killed_roll", parameters(shop, version, options), place)


def roll_again(shop: Shop, version: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same call in this process, to its end; a release that serves then is the current one."""
    result = compose_rolling.call(parameters(shop, version, options), False)
    if not result.get("failed"):
        link = shop.root / "current.new"
        link.symlink_to(os.path.relpath(release_of(shop, version), shop.root))
        link.replace(shop.root / "current")
    return result


def kill_call(shop: Shop, module: str, told: Mapping[str, Any], place: str) -> None:
    """Begin a call in a process of its own, a module of ours that arms itself, and be killed at a place."""
    file = shop.folder / "parameters.json"
    file.write_text(json.dumps(told), encoding="utf-8")
    done = shop.python("-m", module, str(file), place)
    if done.returncode != -signal.SIGKILL:
        raise BedError(f"{place}: ended with {done.returncode} instead: {done.stdout}{done.stderr}")


def main() -> int:
    """See the module's text."""
    arm(sys.argv[2])
    compose_rolling.call(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), False)
    return 3


if __name__ == "__main__":
    sys.exit(main())
