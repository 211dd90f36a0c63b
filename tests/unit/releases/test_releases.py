# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of releases, which one is taken up again, and what from outside may become a path or an argument."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.releases import choice
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.choice import (
    ACTIVE,
    BAD,
    BUILT,
    PREPARING,
    VERIFIED,
    Release,
    is_id,
    new_id,
    problem_with_ref,
    problem_with_shared,
    release_for,
    rollback_target,
    rollback_target_from,
    surplus,
)

MOMENT, COMMIT = "20261120T084911Z", "5d33865fdfc578b623a4dde03705b70f6820116e"
ID = f"{MOMENT}-5d33865"


def put(base: str, kinds: tuple[str, ...] = ("backend",), **more: Any) -> dict[str, Any]:
    return {"base_release": base, "kinds": {kind: ["a"] for kind in kinds}, "forced": False, **more}


@pytest.mark.parametrize(
    ("hotfixes", "expected"),
    [
        ({"h1": put("v1")}, True),
        ({"h2": put("h1"), "h1": put("v1")}, True),
        ({"h2": put("h1")}, False),
        ({"h1": put("v0")}, False),
        ({"h1": put("v1", ("backend", "static"))}, False),
        ({"h2": put("h1"), "h1": put("v1", ("nginx",))}, False),
        ({"h1": put("v1", ("backend", "env"))}, False),
        ({"h1": put("v1", ())}, False),
        ({"h1": put("v1", forced=True)}, False),
        ({"h1": {"base_release": "v1", "kinds": {"backend": ["a"]}}}, False),
        ({"h1": put("h1")}, False),
        ({"h1": put("h2"), "h2": put("h1")}, False),
        ({"h1": {}}, False),
        ({}, False),
    ],
)
def test_code_alone_lies_between_two_releases(hotfixes: dict[str, dict[str, Any]], expected: bool) -> None:
    current = max(hotfixes, default="v1")
    assert choice.code_alone(hotfixes, current, "v1") is expected


def test_ids_of_one_second_are_counted_up_and_sort_by_time() -> None:
    first = new_id(MOMENT, COMMIT, [])
    second = new_id(MOMENT, COMMIT, [first])
    third = new_id(MOMENT, COMMIT, [first, second])
    assert [first, second, third] == [ID, f"{ID}.2", f"{ID}.3"]
    assert sorted([third, first, second]) == [first, second, third]
    assert all(map(is_id, [first, third, f"{ID}.h1", f"{ID}.2.h10", f"{MOMENT}-{COMMIT}"]))


@pytest.mark.parametrize(
    "text",
    ["", "current", "..", f".making-{ID}", f"{ID}/", f"../{ID}", f"{ID}\n", f"{ID}.h", f"{MOMENT}-5d3386g", "v1"],
)
def test_what_is_no_id(text: str) -> None:
    assert not is_id(text)


def release(name: str, state: str = VERIFIED, revision: str = "aaa") -> Release:
    return Release(name, revision, state)


@pytest.mark.parametrize(
    ("current", "there", "taken"),
    [
        ("", [], ""),
        ("", [release("1", revision="bbb")], ""),
        # Killed half-way: it goes on in the folder it began, the newest.
        ("", [release("1", PREPARING), release("2", PREPARING)], "2"),
        ("", [release("2", PREPARING), release("1", PREPARING)], "2"),
        # The same input changes nothing, although there is a newer one.
        ("1", [release("1"), release("2")], "1"),
        ("9", [release("1"), release("9", revision="bbb")], "1"),
        # What failed once is made anew; an older good one of that commit serves as well.
        ("", [release("1", BAD)], ""),
        ("", [release("1"), release("2", BAD)], "1"),
        ("1", [release("1", BAD), release("2")], "2"),
    ],
)
def test_which_release_is_this_revision(current: str, there: list[Release], taken: str) -> None:
    assert release_for("aaa", "", there, current) == taken


@pytest.mark.parametrize("ref", ["main", "v1.0", "feature/x", COMMIT, "5d33865", "1.x-stable", "übung"])
def test_a_ref_that_can_be_asked_for(ref: str) -> None:
    assert problem_with_ref(ref) == ""


@pytest.mark.parametrize(
    "ref",
    ["-n", "--upload-pack=touch x", "a..b", "a b", "a\nb", "a\x00", "a~1", "a^", "a:b", "a*", "a?", "a[b", "a\\b", "x.lock"],
)  # fmt: skip
def test_a_ref_that_is_none(ref: str) -> None:
    assert problem_with_ref(ref) == f"{ref!r} is no git branch, tag or commit"


def test_no_ref_at_all() -> None:
    assert problem_with_ref("") == "it was not said which version is wanted"


@pytest.mark.parametrize("path", [".env", "config/.env", "a/b/c", "..env", "media"])
def test_a_path_that_can_be_shared(path: str) -> None:
    assert problem_with_shared(path) == ""


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".", "./.env", "a//b", "a/", "a/./b", "a\x00b", ".evenkeel/x"]
)  # fmt: skip
def test_a_path_that_cannot(path: str) -> None:
    assert repr(path) in problem_with_shared(path)


GOOD = [Release(str(n), f"r{n}", VERIFIED, verified=float(n)) for n in range(1, 8)]


@pytest.mark.parametrize(
    ("keep", "current", "used", "gone"),
    [
        (5, "7", [], ["1", "2"]),
        (5, "7", ["1"], ["2", "3"]),
        (1, "7", [], ["1", "2", "3", "4", "5"]),
        (0, "7", ["2"], ["1", "3", "4", "5"]),
        (9, "7", [], []),
        # Gone back to an old one: the newest good one is the way back then.
        (2, "1", [], ["2", "3", "4", "5", "6"]),
        (1, "", [], []),
    ],
)
def test_what_may_go(keep: int, current: str, used: list[str], gone: list[str]) -> None:
    assert surplus(GOOD, keep, current, used) == gone


def test_what_never_goes() -> None:
    there = [
        Release("1", "a", VERIFIED, 1.0, pinned=True),
        Release("2", "b", VERIFIED, 9.0),
        Release("3", "c", VERIFIED, 3.0),
        Release("4", "d", BAD, 4.0),
        Release("5", "e", PREPARING),
        Release("6", "f", VERIFIED, 6.0),
    ]
    assert rollback_target(there, "6") == "2", "the one that was good last, not the one that was made last"
    assert surplus(there, 0, "6", []) == ["3", "4", "5"]
    assert rollback_target(there[3:5], "4") == ""


@given(
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from([VERIFIED, BAD, PREPARING]), st.booleans()), max_size=12),
    st.integers(0, 8),
    st.data(),
)
def test_enough_is_left_whatever_there_is(rows: list[tuple[int, str, bool]], keep: int, data: st.DataObject) -> None:
    there = [Release(f"{n:02}", "x", state, float(n), pinned) for n, state, pinned in {r[0]: r for r in rows}.values()]
    ids = sorted(r.id for r in there)
    current = data.draw(st.sampled_from(["", *ids]))
    used = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
    gone = set(surplus(there, keep, current, used))
    assert not gone & {current, rollback_target(there, current), *used, *(r.id for r in there if r.pinned)}
    assert len(ids) - len(gone) >= min(keep, len(ids))
    if current:
        spared = {current, rollback_target(there, current), *used, *(r.id for r in there if r.pinned)} - {""}
        assert len(ids) - len(gone) <= max(keep, len(spared))


@pytest.mark.parametrize(
    ("wanted", "current", "back"),
    [
        ("9", "1", "1"),
        ("1", "1", "2"),
        # Nobody has found the current one good: the last that was.
        ("9", "3", "2"),
        ("3", "3", "2"),
        # A way back that was killed before what it went to was looked at again.
        ("9", "4", "4"),
        ("2", "", "4"),
        ("9", "", "2"),
    ],
)
def test_where_to_go_back_to(wanted: str, current: str, back: str) -> None:
    there = [
        Release("1", "a", VERIFIED, 1.0), Release("2", "b", VERIFIED, 3.0), Release("3", "c", ACTIVE),
        Release("4", "d", ACTIVE, 2.0), Release("5", "e", BAD, 9.0), Release("6", "f", BUILT),
    ]  # fmt: skip
    assert rollback_target_from(wanted, there, current) == back


def test_there_may_be_nothing_to_go_back_to() -> None:
    assert rollback_target_from("3", [Release("3", "c", ACTIVE), Release("5", "e", BAD, 9.0)], "3") == ""


def kept(name: str, state: str = choice.VERIFIED, at: float = 1.0, **more: Any) -> choice.Release:
    return choice.Release(f"20261120T0000{name}Z-aaaaaa{name}", f"aaaaaa{name}", state, at, **more)


@pytest.mark.parametrize(
    ("named", "all_of_them", "found"),
    [
        ("", [kept("01", at=1), kept("02", at=2), kept("03", at=3)], "02"),
        # The one that was found good last, not the one that was made last.
        ("", [kept("01", at=9), kept("02", at=2), kept("03", at=10)], "01"),
        ("", [kept("01", at=1), kept("02", choice.BAD, 2), kept("03", at=3)], "01"),
        # A second call does not go further back.
        ("", [kept("01", at=1), kept("02", at=2), kept("03", at=3, came_back=True)], "03"),
        # Only where it is the current one.
        ("", [kept("01", at=1), kept("02", at=2, came_back=True), kept("03", at=3)], "02"),
        ("v1", [kept("01", at=1, version="v1"), kept("02", at=2, version="v1"), kept("03")], "02"),
        ("aaaaaa01", [kept("01"), kept("02"), kept("03")], "01"),
        ("v2", [kept("01"), kept("02", choice.BAD, version="v2"), kept("03")], "02"),
        ("v2", [kept("01", version="v2"), kept("02", choice.BAD, 5, version="v2"), kept("03")], "01"),
    ],
)
def test_the_release_to_go_back_to(named: str, all_of_them: list[choice.Release], found: str) -> None:
    name, problem = choice.find(named, all_of_them, all_of_them[-1].id)
    assert (name, problem) == (kept(found).id, "")


@pytest.mark.parametrize(
    ("named", "all_of_them", "why"),
    [
        ("", [kept("01", choice.BAD), kept("02")], "no earlier release was ever found good"),
        ("", [kept("01")], "no earlier release was ever found good"),
        ("v9", [kept("01"), kept("02")], "no release is v9; there are: 20261120T000001Z-aaaaaa01"),
        ("aaaaaa01", [kept("01", choice.PREPARING, 0), kept("02")], "was never built"),
    ],
)
def test_why_there_is_none_to_go_back_to(named: str, all_of_them: list[choice.Release], why: str) -> None:
    name, problem = choice.find(named, all_of_them, all_of_them[-1].id)
    assert name == "" and why in problem


def test_from_an_update_that_was_killed_one_goes_back_to_what_it_was_leaving() -> None:
    before, current = Release("1", "a", "verified", 1.0), Release("2", "b", "verified", 2.0)
    begun = Release("3", "c", "built")
    assert choice.find("", [before, current, begun], "2", {"1", "2", "3"}) == ("2", "")
    # It was only built, or its containers are gone again; and what is bad was undone.
    assert choice.find("", [before, current, begun], "2", {"1", "2"}) == ("1", "")
    assert choice.find("", [before, current, Release("3", "c", "bad")], "2", {"3"}) == ("1", "")
    # Killed after its switch, it is the current one itself.
    assert choice.find("", [before, current, Release("3", "c", "active")], "3", {"2", "3"}) == ("2", "")
    assert choice.find("1", [before, current, begun], "2", {"3"}) == ("1", "")
