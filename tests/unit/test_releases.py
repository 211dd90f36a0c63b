# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of releases, which one is taken up again, and what from outside may become a path or an argument."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.decide.releases import (
    BAD,
    PREPARING,
    VERIFIED,
    Release,
    is_id,
    new_id,
    problem_with_ref,
    problem_with_shared,
    release_for,
)

MOMENT, COMMIT = "20261120T084911Z", "5d33865fdfc578b623a4dde03705b70f6820116e"
ID = f"{MOMENT}-5d33865"


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
    assert release_for("aaa", there, current) == taken


@pytest.mark.parametrize("ref", ["main", "v1.0", "feature/x", COMMIT, "5d33865", "1.x-stable", "übung"])
def test_a_ref_that_can_be_asked_for(ref: str) -> None:
    assert problem_with_ref(ref) == ""


@pytest.mark.parametrize(
    "ref",
    ["", "-n", "--upload-pack=touch x", "a..b", "a b", "a\nb", "a\x00", "a~1", "a^", "a:b", "a*", "a?", "a[b", "a\\b", "x.lock"],
)  # fmt: skip
def test_a_ref_that_is_none(ref: str) -> None:
    assert problem_with_ref(ref) == f"{ref!r} is no git branch, tag or commit"


@pytest.mark.parametrize("path", [".env", "config/.env", "a/b/c", "..env", "media"])
def test_a_path_that_can_be_shared(path: str) -> None:
    assert problem_with_shared(path) == ""


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".", "./.env", "a//b", "a/", "a/./b", "a\x00b", ".evenkeel/x"]
)  # fmt: skip
def test_a_path_that_cannot(path: str) -> None:
    assert repr(path) in problem_with_shared(path)
