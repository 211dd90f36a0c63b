# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit finds what was lost or done twice: that, all of that, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bed.load import (
    Acknowledged,
    Audit,
    Confirmation,
    Database,
    DatabaseError,
    Heartbeat,
    OrderRow,
    audit,
    audit_heartbeats,
    read_acknowledged,
    wait_for_tasks,
)


@dataclass
class World:
    """A database, and what was said about it; sound until something is injected."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    rows: list[OrderRow] = field(default_factory=list)
    confirmations: list[Confirmation] = field(default_factory=list)

    def audit(self) -> Audit:
        """The verdict."""
        return audit(self.acknowledged, self.unknown, self.rows, self.confirmations)


def sound(orders: int = 6) -> World:
    """Acknowledged orders o1…, each with its row and confirmation."""
    world = World()
    for number in range(1, orders + 1):
        world.acknowledged.append(Acknowledged(f"o{number}", number))
        world.rows.append(OrderRow(number, f"o{number}"))
        world.confirmations.append(Confirmation(number))
    return world


def faults(verdict: Audit) -> dict[str, tuple[str, ...]]:
    """What the audit complains of."""
    names = ("lost_rows", "double_rows", "wrong_ids", "lost_tasks", "double_tasks")
    return {name: getattr(verdict, name) for name in names if getattr(verdict, name)}


def test_sound() -> None:
    verdict = sound().audit()
    assert verdict.flawless and faults(verdict) == {}
    assert (verdict.acknowledged, verdict.found, verdict.tasks_run, verdict.unknown) == (6, 6, 6, 0)


def test_lost_row() -> None:
    world = sound()
    del world.rows[2], world.confirmations[2]  # the row goes, and by its foreign key the confirmation
    verdict = world.audit()
    assert faults(verdict) == {"lost_rows": ("o3",)}
    assert (verdict.found, verdict.foreign_tasks) == (5, 0)
    assert not verdict.flawless


def test_double_row() -> None:
    world = sound()
    world.rows.append(OrderRow(77, "o3"))
    assert faults(world.audit()) == {"double_rows": ("o3",)}


def test_lost_task() -> None:
    world = sound()
    del world.confirmations[4]
    verdict = world.audit()
    assert faults(verdict) == {"lost_tasks": ("o5",)}
    assert verdict.tasks_run == 5


def test_double_task() -> None:
    world = sound()
    world.confirmations.append(Confirmation(1))
    assert faults(world.audit()) == {"double_tasks": ("o1",)}


def test_id_of_another_row() -> None:
    world = sound()
    world.acknowledged[0] = Acknowledged("o1", 2)
    assert faults(world.audit()) == {"wrong_ids": ("o1",)}


@pytest.mark.parametrize("tasks", [0, 1])
@pytest.mark.parametrize("rows", [0, 1])
def test_unknown_may_be_there_or_not(rows: int, tasks: int) -> None:
    world = sound()
    world.unknown = {"u1"}
    world.rows += [OrderRow(50, "u1")] * rows
    world.confirmations += [Confirmation(50)] * (tasks * rows)
    verdict = world.audit()
    assert verdict.flawless
    assert (verdict.unknown, verdict.unknown_found, verdict.foreign_rows) == (1, rows, 0)


def test_unknown_must_not_be_there_twice() -> None:
    world = sound()
    world.unknown = {"u1"}
    world.rows += [OrderRow(50, "u1"), OrderRow(51, "u1")]
    world.confirmations += [Confirmation(50), Confirmation(51), Confirmation(51)]
    assert faults(world.audit()) == {"double_rows": ("u1",), "double_tasks": ("u1",)}


def test_foreign_is_counted_not_judged() -> None:
    world = sound()
    world.rows += [OrderRow(90, "theirs"), OrderRow(91, "theirs")]
    world.confirmations += [Confirmation(90), Confirmation(90), Confirmation(1234)]
    verdict = world.audit()
    assert verdict.flawless
    assert (verdict.foreign_rows, verdict.foreign_tasks) == (2, 3)


FATES = ("good", "lost row", "double row", "lost task", "double task", "wrong id", "unknown, none", "unknown, one",
         "unknown, two", "foreign")  # fmt: skip


@given(st.lists(st.sampled_from(FATES), max_size=60), st.randoms(use_true_random=False))
def test_any_mixture_of_fates_is_told_apart(fates: list[str], random: object) -> None:
    """Whatever befalls each order, the audit names exactly those it befell, in whatever order rows come."""
    world, ids = World(), itertools.count(1)
    for number, fate in enumerate(fates):
        reference, own = f"r{number:03d}", next(ids)
        rows = {"lost row": 0, "double row": 2, "unknown, none": 0, "unknown, two": 2}.get(fate, 1)
        stored = [own, next(ids)][:rows]
        if fate.startswith("unknown"):
            world.unknown.add(reference)
        elif fate != "foreign":
            world.acknowledged.append(Acknowledged(reference, next(ids) if fate == "wrong id" else own))
        world.rows += [OrderRow(i, reference) for i in stored]
        runs = {"lost task": 0, "double task": 2, "foreign": 2}.get(fate, 1)
        world.confirmations += [Confirmation(i) for i in stored for _run in range(runs)]
    for shuffled in (world.acknowledged, world.rows, world.confirmations):
        random.shuffle(shuffled)  # type: ignore[attr-defined]

    verdict = world.audit()
    befell = {name: tuple(f"r{n:03d}" for n, fate in enumerate(fates) if fate in which) for name, which in {
        "lost_rows": ["lost row"], "double_rows": ["double row", "unknown, two"], "wrong_ids": ["wrong id"],
        "lost_tasks": ["lost task"], "double_tasks": ["double task"],
    }.items()}  # fmt: skip
    assert faults(verdict) == {name: references for name, references in befell.items() if references}
    assert verdict.flawless == (not any(befell.values()))
    assert verdict.acknowledged == len(world.acknowledged)
    assert verdict.found == verdict.acknowledged - len(verdict.lost_rows)
    assert verdict.unknown_found == sum(fate in ("unknown, one", "unknown, two") for fate in fates)
    assert (verdict.foreign_rows, verdict.foreign_tasks) == (fates.count("foreign"), 2 * fates.count("foreign"))


class TestHeartbeats:
    """Slots that came twice, and silences."""

    def test_doubles_and_gap(self) -> None:
        beats = [
            Heartbeat(at, slot) for at, slot in [(100, "10"), (110, "11"), (110.2, "11"), (135, "13"), (140, "14")]
        ]
        verdict = audit_heartbeats(beats)
        assert (verdict.count, verdict.double_slots) == (5, ("11",))
        assert verdict.longest_gap == pytest.approx(24.8)
        assert verdict.longest_gap_at == 110.2

    def test_silence_at_the_ends_counts(self) -> None:
        beats = [Heartbeat(50, "5"), Heartbeat(100, "10"), Heartbeat(110, "11")]
        verdict = audit_heartbeats(beats, since=95, until=180)
        assert (verdict.count, verdict.longest_gap, verdict.longest_gap_at) == (2, 70, 110)
        assert audit_heartbeats([], since=0, until=30).longest_gap == 30
        assert audit_heartbeats([]).longest_gap == 0


class TestDatabase:
    """The command, what is made of its output, and the waiting."""

    def test_command_is_a_list_and_no_shell(self) -> None:
        asked: list[Sequence[str]] = []

        def run(argv: Sequence[str]) -> str:
            asked.append(argv)
            return '7,"a ""quoted"", reference"\n8,plain\n'

        assert Database("shop-db-1", "shop", "shopdb", run=run).orders() == [
            OrderRow(7, 'a "quoted", reference'),
            OrderRow(8, "plain"),
        ]
        assert asked[0][:4] == ["docker", "exec", "shop-db-1", "psql"]
        assert asked[0][-1] == "COPY (SELECT id, reference FROM tours_order) TO STDOUT (FORMAT csv)"
        assert asked[0][asked[0].index("-U") + 1] == "shop" and asked[0][asked[0].index("-d") + 1] == "shopdb"

    def test_heartbeats(self) -> None:
        database = Database("db", "u", "d", run=lambda argv: "1700000000.250000,17000000\n")
        assert database.heartbeats() == [Heartbeat(1700000000.25, "17000000")]

    @pytest.mark.parametrize("name", ["", "--privileged", "a b", "x;y", "-db"])
    def test_names_that_are_options_are_refused(self, name: str) -> None:
        with pytest.raises(DatabaseError):
            Database(name, "u", "d")
        with pytest.raises(DatabaseError):
            Database("c", name, "d")

    def test_failure_is_told(self, tmp_path: Path) -> None:
        docker = tmp_path / "docker"
        docker.write_text("#!/bin/sh\necho 'no such table' >&2\nexit 3\n")
        docker.chmod(0o755)
        with pytest.raises(DatabaseError, match=r"psql in db failed \(rc 3\): no such table"):
            Database("db", "u", "d", docker=str(docker)).orders()
        with pytest.raises(DatabaseError, match="nowhere"):
            Database("db", "u", "d", docker=str(tmp_path / "nowhere")).orders()

    @staticmethod
    def _slowly(arriving: Sequence[int]) -> Database:
        """One order; the number of confirmations at each look."""
        looks = iter(arriving)

        def run(argv: Sequence[str]) -> str:
            return "1\n" * next(looks) if "confirmation" in argv[-1] else "1,o1\n"

        return Database("db", "u", "d", run=run)

    def test_wait_until_the_task_has_run(self) -> None:
        waited = wait_for_tasks(self._slowly([0, 0, 1, 1]), [Acknowledged("o1", 1)], [], poll=0.05, settle=0.01)
        assert waited.audit.flawless
        assert waited.seconds >= 0.1

    def test_wait_sees_a_second_run_that_comes_late(self) -> None:
        waited = wait_for_tasks(self._slowly([1, 2]), [Acknowledged("o1", 1)], [], settle=0.01)
        assert waited.audit.double_tasks == ("o1",)

    def test_wait_is_bounded(self) -> None:
        database = self._slowly([0] * 100)
        waited = wait_for_tasks(database, [Acknowledged("o1", 1)], [], patience=0.2, poll=0.05, settle=0)
        assert waited.audit.lost_tasks == ("o1",)
        assert 0.2 <= waited.seconds < 1


def test_torn_last_line_of_the_book(tmp_path: Path) -> None:
    book = tmp_path / "book"
    assert read_acknowledged(book) == []
    book.write_text('{"reference": "a", "id": 1, "version": "v1", "at": 0.1}\n{"reference": "b", "i')
    assert read_acknowledged(book) == [Acknowledged("a", 1, "v1")]
