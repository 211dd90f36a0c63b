# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a ``RunPython`` that moves data is run: in batches, each committed, or as one transaction if that can be short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import safe_ways
from .schema import Operation

#: The phase of what moves data when every code that runs was made for it, beside the requests.
BETWEEN = "between"
#: How such an operation is run.
BATCHES = "batches"


@dataclass(frozen=True)
class Way:
    """How it is run; ``reason`` and ``safe_way`` say why it cannot be, and are empty where it can."""

    method: str = ""
    reason: str = ""
    safe_way: str = ""


def way_of(
    operation: Operation,
    phase: str,
    alone: bool,
    tables: Sequence[tuple[str, int]],
    blocking_bytes: int,
) -> Way:
    """The way for an operation of which its author has declared a phase.

    :param alone: its author has said of this very operation that one transaction will do.
    :param tables: the tables of its app with their bytes: which of them it works on cannot be known.
    """
    if operation.batches and (phase == BETWEEN or phase == "after" or not operation.atomic):
        return Way(BATCHES)
    if phase == BETWEEN:
        return Way(reason="it is declared between, and has no batches", safe_way=safe_ways.BATCHES)
    name, size = max(tables, key=lambda t: t[1], default=("", 0))
    if operation.opaque == "python" and not alone and size > blocking_bytes:
        reason = (
            f"it would be one transaction in an app whose table {name} has {size // 1024**2} MiB: every row that it has "
            "touched stays locked until its end"
        )
        return Way(reason=reason, safe_way=safe_ways.BATCHES if not operation.batches else safe_ways.NOT_ATOMIC)
    return Way()
