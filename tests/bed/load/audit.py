# SPDX-License-Identifier: GPL-3.0-or-later
"""Was anything lost or done twice? Pure: what was acknowledged, against what the database holds.

Judged are the orders of this run. An acknowledged order must be one row, and that row one confirmation (a
confirmation is written by the task). Of an order whose outcome is unknown there may be a row or none, but
never two, and never two confirmations of one. Everything else in the tables is foreign: counted, not judged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise

from .orders import Acknowledged


@dataclass(frozen=True, slots=True)
class OrderRow:
    """A row of the orders' table."""

    id: int
    reference: str


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A row that one run of the task left: for the order with this id."""

    order_id: int


@dataclass(frozen=True, slots=True)
class Audit:
    """The verdict. Tuples hold references of orders, the rest are numbers.

    `lost_rows`: acknowledged, no row. `double_rows`: more than one row. `wrong_ids`: acknowledged with an id
    that no row of that reference has. `lost_tasks`: acknowledged and stored, no confirmation. `double_tasks`:
    a row with more than one confirmation.
    """

    lost_rows: tuple[str, ...]
    double_rows: tuple[str, ...]
    wrong_ids: tuple[str, ...]
    lost_tasks: tuple[str, ...]
    double_tasks: tuple[str, ...]
    acknowledged: int
    found: int
    tasks_run: int
    unknown: int
    unknown_found: int
    foreign_rows: int
    foreign_tasks: int

    @property
    def flawless(self) -> bool:
        """Nothing lost, nothing double, nothing mixed up."""
        return not (self.lost_rows or self.double_rows or self.wrong_ids or self.lost_tasks or self.double_tasks)


def audit(
    acknowledged: Iterable[Acknowledged],
    unknown: Collection[str],
    rows: Iterable[OrderRow],
    confirmations: Iterable[Confirmation],
) -> Audit:
    """Hold what was acknowledged, and what may have happened, against the rows and confirmations there are."""
    promised: dict[str, set[int]] = defaultdict(set)
    for order in acknowledged:
        promised[order.reference].add(order.id)
    doubtful = set(unknown) - set(promised)
    stored: dict[str, list[int]] = defaultdict(list)
    foreign_rows = 0
    for row in rows:
        if row.reference in promised or row.reference in doubtful:
            stored[row.reference].append(row.id)
        else:
            foreign_rows += 1
    runs = Counter(confirmation.order_id for confirmation in confirmations)
    own_ids = {row_id for ids in stored.values() for row_id in ids} | {i for ids in promised.values() for i in ids}
    found = [reference for reference in promised if reference in stored]
    return Audit(
        lost_rows=tuple(sorted(reference for reference in promised if reference not in stored)),
        double_rows=tuple(sorted(reference for reference, ids in stored.items() if len(ids) > 1)),
        wrong_ids=tuple(sorted(reference for reference in found if promised[reference] - set(stored[reference]))),
        lost_tasks=tuple(sorted(reference for reference in found if not any(runs[i] for i in stored[reference]))),
        double_tasks=tuple(sorted(ref for ref, ids in stored.items() if any(runs[i] > 1 for i in set(ids)))),
        acknowledged=len(promised),
        found=len(found),
        tasks_run=sum(1 for reference in found if any(runs[i] for i in stored[reference])),
        unknown=len(doubtful),
        unknown_found=sum(1 for reference in doubtful if reference in stored),
        foreign_rows=foreign_rows,
        foreign_tasks=sum(number for order_id, number in runs.items() if order_id not in own_ids),
    )


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A row the periodic task left: when (seconds since 1970) and for which slot."""

    at: float
    slot: str


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """The verdict on the periodic task. `longest_gap` is seconds, `longest_gap_at` seconds since 1970."""

    count: int
    double_slots: tuple[str, ...]
    longest_gap: float
    longest_gap_at: float


def audit_heartbeats(beats: Iterable[Heartbeat], since: float | None = None, until: float | None = None) -> Heartbeats:
    """Slots that came twice, and the longest time without a beat.

    With `since` and `until` (seconds since 1970) only beats between them count, and the silence at both ends
    counts as well: a scheduler that never came back shows.
    """
    inside = [beat for beat in beats if (since is None or beat.at >= since) and (until is None or beat.at <= until)]
    slots = Counter(beat.slot for beat in inside)
    times = sorted(beat.at for beat in inside)
    times = ([] if since is None else [since]) + times + ([] if until is None else [until])
    gaps = [(later - earlier, earlier) for earlier, later in pairwise(times)]
    longest, begun = max(gaps, default=(0.0, times[0] if times else 0.0))
    doubles = tuple(sorted(slot for slot, number in slots.items() if number > 1))
    return Heartbeats(len(inside), doubles, longest, begun)
