# SPDX-License-Identifier: GPL-3.0-or-later
"""The load generator of the beds, the demo and the evidence, and the audit that follows it.

From Python (pytest, scripts)::

    with LoadRun("http://127.0.0.1:8080", directory, rate=120, seconds=120) as load:
        load.mark("update-start")
        ...                                    # the update
        load.mark("update-end")
        result = load.stop()
    database = Database("shop-db-1", "shop", "shop")
    waited = wait_for_tasks(database, load.acknowledged(), result.unknown_orders)
    print(summary_table(result, waited.audit))
    assert result.flawless and waited.audit.flawless

From a shell: `python -m tests.bed.load --help`, in the root of the repository.
"""

from __future__ import annotations

from .audit import Audit, Confirmation, Heartbeat, Heartbeats, OrderRow, audit, audit_heartbeats
from .database import Database, DatabaseError, Waited, wait_for_tasks
from .generator import Generator
from .options import Options, OptionsRefused, parse_mix
from .orders import Acknowledged, read_acknowledged
from .process import LoadError, LoadRun
from .result import Measures, Phase, Result
from .table import summary_table
from .target import Target, TargetRefused, loopback_target

__all__ = [
    "Acknowledged",
    "Audit",
    "Confirmation",
    "Database",
    "DatabaseError",
    "Generator",
    "Heartbeat",
    "Heartbeats",
    "LoadError",
    "LoadRun",
    "Measures",
    "Options",
    "OptionsRefused",
    "OrderRow",
    "Phase",
    "Result",
    "Target",
    "TargetRefused",
    "Waited",
    "audit",
    "audit_heartbeats",
    "loopback_target",
    "parse_mix",
    "read_acknowledged",
    "summary_table",
    "wait_for_tasks",
]
