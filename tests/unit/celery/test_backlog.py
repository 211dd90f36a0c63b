# SPDX-License-Identifier: GPL-3.0-or-later
"""What an older worker may not meet: when newer ones are waited for, and what is kept aside."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.celery.backlog import (
    UNREAD,
    Go,
    Look,
    Wait,
    Worker,
    concerns,
    counted,
    news,
    next_of,
    unknown,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.celery.inside.queues import name_of

OLD = frozenset({"tours.confirm", "tours.heartbeat"})
NEW = OLD | {"tours.voucher"}
ABLE = {"celery@new": Worker(NEW)}


def test_nothing_is_done_where_newer_workers_know_no_more() -> None:
    same = Look(OLD, {"celery": {"tours.confirm": 40}}, workers={"celery@new": Worker(OLD)})
    assert not concerns(same) and next_of(same, 0, 60) == Go({})
    # What cannot be read is of names that its workers know, and these know no more than the older ones.
    assert not concerns(Look(OLD, {"celery": {UNREAD: 40}}, workers={"celery@new": Worker(OLD)}))
    assert concerns(Look(OLD, {"celery": {UNREAD: 40}}))
    assert not concerns(Look(OLD))


def test_a_newer_worker_that_knows_more_or_does_not_answer_is_of_concern_with_empty_queues_too() -> None:
    knows = Look(OLD, workers=ABLE)
    assert concerns(knows) and news(knows) == {"tours.voucher"} and next_of(knows, 0, 60) == Go({})
    assert concerns(Look(OLD, silent=1))


def test_it_is_waited_for_as_long_as_somebody_can_run_it_and_no_longer_than_allowed() -> None:
    waits = Look(OLD, {"celery": {"tours.voucher": 3, "tours.confirm": 9}}, workers=ABLE)
    assert next_of(waits, 0, 60) == Wait() and next_of(waits, 59.9, 60) == Wait()
    assert next_of(waits, 60, 60) == Go({"tours.voucher": 3})
    # Dead, deaf, or as ignorant as the older ones: nobody will run it.
    assert next_of(Look(OLD, {"celery": {"tours.voucher": 3}}, silent=1), 0, 60) == Go({"tours.voucher": 3})
    ignorant = Look(OLD, {"celery": {"tours.voucher": 3}}, workers={"celery@new": Worker(OLD)})
    assert next_of(ignorant, 0, 60) == Go({"tours.voucher": 3})
    assert next_of(waits, 0, 0) == Go({"tours.voucher": 3})


def test_what_is_fetched_counts_once_whoever_tells_of_it() -> None:
    look = Look(
        OLD,
        {"celery": {"tours.voucher": 1}},
        held={"tours.voucher": 2, "tours.confirm": 5},
        workers={"a": Worker(NEW, {"tours.voucher": 2}), "b": Worker(NEW, {"tours.voucher": 1})},
    )
    assert unknown(look) == {"tours.voucher": 4}


def test_what_no_older_worker_fetches_is_left_alone() -> None:
    assert unknown(Look(OLD, is_external={"vouchers": {"tours.voucher": 3}}, workers=ABLE)) == {}


def test_names_are_told_and_not_all_of_them() -> None:
    assert counted({"b": 1200, "a": 1}) == "1 of a, 1,200 of b"
    assert counted({f"t{n}": 1 for n in range(9)}).endswith("1 of t4 and 4 more names")


NAMES = st.dictionaries(st.sampled_from(["old.a", "old.b", "new.a", "new.b", ""]), st.integers(0, 5))


@given(NAMES, NAMES, st.booleans(), st.floats(0, 120), st.floats(0, 120))
def test_it_always_ends_and_whatever_would_be_discarded_is_named(
    waiting: dict[str, int], held: dict[str, int], able: bool, waited: float, timeout: float
) -> None:
    old = frozenset({"old.a", "old.b"})
    look = Look(old, {"q": waiting}, held, workers={"w": Worker(old | {"new.a"})} if able else {})
    step = next_of(look, waited, timeout)
    strange = {n for names in (waiting, held) for n, c in names.items() if c and n and n not in old}
    if isinstance(step, Wait):
        assert waited < timeout and able and strange
    else:
        assert set(step.left) == strange
        assert waited >= timeout or not (able and "new.a" in strange)


def message(**parts: Any) -> dict[str, Any]:
    return {"headers": {}, "properties": {"body_encoding": "base64"}, "body": "", **parts}


@pytest.mark.parametrize(
    ("given_message", "name"),
    [
        (message(headers={"task": "tours.voucher"}), "tours.voucher"),
        (message(body=base64.b64encode(json.dumps({"task": "old.protocol"}).encode()).decode()), "old.protocol"),
        (message(body=json.dumps({"task": "plain"}), properties={}), "plain"),
        (message(body="\x80\x04pickled"), ""),
        (message(body=base64.b64encode(b"[1, 2]").decode()), ""),
        ({"headers": None}, ""),
        ([], ""),
        ("text", ""),
    ],
)
def test_only_the_name_is_read_and_what_has_none_is_nobodys(given_message: Any, name: str) -> None:
    assert name_of(given_message) == name
