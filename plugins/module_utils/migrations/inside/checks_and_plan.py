# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: its checks and its plan of migrations in one start of Django, as one line ``EVENKEEL {json}``."""

from __future__ import annotations

import json
import sys
from typing import Any

from ...django.inside import deployment_checks
from . import plan as migrations_plan


def main(checks: list[str], plan: list[Any], listens: bool = False) -> None:
    """Print what the checks say, and with it the ``plan`` where they do not break off.

    :param plan: what ``migration_plan_script.answered`` takes.
    :param listens: wait for an order then, as ``migration_talk_script`` does, which has to be sent as well.
    """
    report = deployment_checks.answered(checks)
    if not report.get("error"):
        report["plan"] = migrations_plan.answered(*plan)
    sys.stdout.write("\nEVENKEEL " + json.dumps(report, default=str) + "\n")
    sys.stdout.flush()
    if listens and not report.get("error"):
        from . import talk

        talk.listen()
