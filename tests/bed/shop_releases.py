# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the state of each release of a shop, and update to any of them, also to a bad one."""

from __future__ import annotations

import json
from typing import Any

from tests.bed.killed_roll import QUICK as SHORT
from tests.bed.shop import Play, Shop

# A worker beside one that crashes all the time boots slowly.
QUICK = {"api": {**SHORT["api"], "ready_timeout": 120}, "celery": {**SHORT["celery"], "ready_timeout": 180}}


def manifests(shop: Shop) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted(shop.root.glob("releases/*/.evenkeel/manifest.json"))]


def states(shop: Shop) -> dict[str, str]:
    """The state of each release, by what it was asked for by."""
    return {m["version"]: m["state"] for m in manifests(shop)}


def forward(shop: Shop, version: str, **variables: Any) -> Play:
    """Update, to what was rolled back before as well."""
    bad = {m["revision"] for m in manifests(shop) if m["state"] == "bad" and m["version"] == version}
    accepted = {"update_allow_bad": bad.pop()} if bad else {}
    return shop.update(version, app_services=QUICK, **accepted, **variables)
