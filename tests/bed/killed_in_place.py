# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a hotfix into running containers, or take it back, on the real machine, and kill it with -9 at one exact place.

``python -m tests.bed.killed_in_place PARAMETERS.json PLACE`` where a place is ``before:write``, ``after:signal`` and so on for what
``InPlace`` does, as it is met the first time, and ``after:remember`` for what is written down before.
Ends by SIGKILL; exit code 3 when the place was never met, so that a test cannot pass by missing it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import hotfix_in_place
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import in_place, in_place_change
from tests.bed.killed_roll import die, kill_call
from tests.bed.shop import Shop

#: One container whose requests wait, and its worker and scheduler.
PLACES = (
    "after:remember", "after:begin_workers", "after:write", "after:start_anew", "after:hold", "after:signal", "before:unpin",
    "after:run",
)  # fmt: skip
#: Two that are led around.
ROTATED_PLACES = ("after:drain", "after:signal", "before:lead", "before:unpin")
#: Started again, since gunicorn's master has the code.
RESTARTED_PLACES = ("after:drain", "inside:restart", "after:restart", "before:lead")


def arm(place: str) -> None:
    """Make the call end at a place."""
    when, _colon, name = place.partition(":")
    if when == "inside":
        # Stopped, and not started.
        in_place.ComposeMachine.start = die  # type: ignore[method-assign,assignment]
        return
    owner: Any = in_place_change.Change if name == "remember" else in_place.InPlace
    perform = getattr(owner, name)

    def performed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if when == "before":
            die()
        result = perform(self, *args, **kwargs)
        die()
        return result

    setattr(owner, name, performed)


def kill_in_place(shop: Shop, parameters: dict[str, Any], place: str) -> None:
    """Begin a call of the module and be killed at a place."""
    kill_call(shop, "tests.bed.killed_in_place", parameters, place)


def main() -> int:
    """See the module's text."""
    parameters = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    arm(sys.argv[2])
    hotfix_in_place.call(parameters, False)
    return 3


if __name__ == "__main__":
    sys.exit(main())
