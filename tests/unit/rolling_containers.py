# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of one web service in each state of a roll, and what is decided from some of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import WEB
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import steps
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.next_step import next_step
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import Container, Policy, Stack, Wanted

WANTED = Wanted("api", WEB, "image-2", "hash-2", prove_seconds=5, monitor=5, drain_timeout=60)
OLD = Container("old", "shop-api-1", "api", "image-1", "hash-1", address="10.0.0.1", in_rotation=True)
NEW = Container("new", "shop-api-2", "api", "image-2", "hash-2", number=2, address="10.0.0.2", awaited_since=10)
PROVEN = replace(NEW, ready_since=11, proof_since=12)
JOINED = replace(PROVEN, in_rotation=True, joined_at=20)
LEFT = replace(OLD, in_rotation=False, left_at=20)


def decide(*containers: Container, now: float = 18, wanted: Wanted = WANTED, **stack: Any) -> steps.Step:
    """The step that follows from these containers of the one service that is wanted."""
    return next_step(Stack(now, containers, **stack), Policy((wanted,)))
