# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills a process that migrates before a statement of a chosen number, and brings the database back to where it began."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.database.migrations.running import Running

#: Settings of a project whose process is killed before its statement number KILL_AT, with all that its transaction has done.
KILLER = """
import os
from django.db.backends.signals import connection_created
STATEMENTS = [0]
def killing(execute, sql, params, many, context):
    if context["connection"].alias == "default" and "pg_stat_activity" not in sql:
        STATEMENTS[0] += 1
        if STATEMENTS[0] == int(os.environ.get("KILL_AT", "0")):
            os.kill(os.getpid(), 9)
    return execute(sql, params, many, context)
def install(connection, **more):
    if "KILL_AT" in os.environ and killing not in connection.execute_wrappers:
        connection.execute_wrappers.append(killing)
connection_created.connect(install, weak=False)
"""


def one_in(step: int) -> Any:
    """A parameter: the first statement, and each ``step`` further."""
    return pytest.param((1, step), id=f"one-in-{step}")


def each_in(parts: int) -> list[Any]:
    """Parameters that have each statement between them, so that workers share these; together they are too long for a day."""
    return [
        pytest.param((first, parts), id=f"{first}-of-{parts}", marks=pytest.mark.nightly)
        for first in range(1, parts + 1)
    ]


def points(chosen: tuple[int, int]) -> Iterator[int]:
    """Numbers of statements, without an end: the first one, and how many further the next one is."""
    return itertools.count(*chosen)


def keep(project: Running, kept: str) -> None:
    """Copy the project's database, to come back to it."""
    project.postgres.make(kept, "planned")


def reset(project: Running, kept: str) -> None:
    """Bring the project's database back to what was kept."""
    project.postgres.make("planned", kept)


def killed(project: Running, order: dict[str, Any], at: int) -> bool:
    """Carry out an order and be killed at a statement; False where it had ended before."""
    project.variables = {"KILL_AT": str(at)}
    process = project.begin(order)
    _printed, errors = process.communicate()
    project.variables = {}
    # Any other end would be taken for that of the last statement, and the rest would never be tried.
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode == -signal.SIGKILL
