# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How what users reach is changed over, as somebody chose it, and why that cannot be."""

from __future__ import annotations

from ...base.errors import BadInput
from ...engine.programs import WEB
from ...engine.services import STOP_FIRST
from .targets import Target

#: At once; one new container first, beside the old ones; at once, and the old ones go on running.
ROLLING, CANARY, BLUE_GREEN = "rolling", "canary", "blue_green"
#: For how long old containers that go on running are kept from users, should nobody come to take them away (seconds).
AWAY = 7 * 86400.0
# Seconds for which they may be wanted.
_LONGEST_KEPT = 24 * 3600.0
# In percent: a rotation of forty has one of them at least, and what is more than half is no trial.
_SHARES = range(3, 51)


def refuse_values(strategy: str, canary_share: int, keep_old: float) -> None:
    """:raises BadInput: an option of a strategy has a value that cannot be."""
    if canary_share and canary_share not in _SHARES:
        raise BadInput(f"canary_share: {canary_share} is not between {_SHARES[0]} and {_SHARES[-1]} (percent)")
    if strategy == BLUE_GREEN and not 0 < keep_old <= _LONGEST_KEPT:
        raise BadInput(f"keep_old: {keep_old:g} s is not between 1s and {_LONGEST_KEPT / 3600:g}h")


def objection(strategy: str, target: Target, proxy: str) -> BadInput | None:
    """Why a service that users reach cannot be changed over by a strategy, None where it can."""
    if strategy == ROLLING or target.settings.kind != WEB or not target.routes or target.removed:
        return None
    name, hint = target.settings.name, f"use strategy: {ROLLING} (update_strategy={ROLLING} in a playbook)"
    if target.settings.order == STOP_FIRST:
        return BadInput(f"{name}: {strategy} has old and new beside each other, and its order is {STOP_FIRST}", hint)
    if target.alone or target.unsteered:
        why = target.alone or f"{proxy or 'its proxy'} cannot be led to its containers"
        return BadInput(f"{name}: {strategy} is not possible: {why}", hint)
    if target.canary_share and not target.weighs:
        return BadInput(
            f"{name}: canary_share {target.canary_share} is not possible, since {proxy} asks for its addresses while it runs, and "
            f"takes turns among them",
            f"leave canary_share out, so that the new container has as many requests as each old one; or write proxy_pass "
            f"http://{name}:PORT; with a plain name",
        )
    return None
