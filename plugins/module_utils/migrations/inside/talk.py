# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: the plan is told, and what is then decided of it is carried out, in one start of Django.

What waits for the order holds nothing of the database.  Without one, as where its asker was killed, it just ends.
"""

from __future__ import annotations

import json
import select
import sys
from typing import Any

from . import plan, run

#: Seconds for which an order is waited for: it is decided at once, and only a lock that somebody else has takes longer.
PATIENCE = 600.0


def read_order() -> dict[str, Any] | None:
    """The order on standard input; None where nobody gives a whole one within ``PATIENCE`` seconds."""
    if not select.select([sys.stdin], [], [], PATIENCE)[0]:
        return None
    try:
        order: dict[str, Any] = json.loads(sys.stdin.read())
    except ValueError:  # nothing, or the half of one whose sender was killed
        return None
    return order


def main(*asked: Any) -> None:
    """Print the plan, wait for the order, carry it out, print the end.

    :param asked: what ``migration_plan_script.answered`` takes.
    """
    report = plan.answered(*asked)
    sys.stdout.write("\nEVENKEEL " + json.dumps(report, default=str) + "\n")
    sys.stdout.flush()
    if not report.get("error"):
        listen()


def listen() -> None:
    """Wait for the order and carry it out; connections to databases are not kept meanwhile."""
    from django.db import connections

    connections.close_all()
    order = read_order()
    if order is not None:
        run.carry_out(order)
