# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply or revert a hotfix of served files by its module."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.hotfix_live import call as change
from tests.bed.killed_roll import QUICK
from tests.bed.shop import Shop


def live(shop: Shop, check: bool = False, files: Mapping[str, str] | None = None, **given: Any) -> dict[str, Any]:
    """The module itself, without a playbook around it."""
    named = [{"path": p, "content": base64.b64encode(t.encode()).decode()} for p, t in (files or {}).items()]
    params = {"path": str(shop.root), "kind": "media", "files": named, "state": "applied", "service_options": QUICK,
              "django_service": "api", "timeout": 120.0, **given}  # fmt: skip
    return change(params, check)
