# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mount of a tree is: part of a version, data, or both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.mounted_content import (
    DATA,
    MIXED,
    VERSION,
    content_of,
    is_store,
    named,
    worth_keeping,
)

APP, READER, EDGE, STORE = ("web", True), ("web", False), ("proxy", True), ("database", True)
NAMES = st.sampled_from(["a.png", "seed.jpg", "app.py", "x.yml", "settings.sample.py", "db.sqlite3", "2024/"])


@pytest.mark.parametrize(
    ("users", "known", "own", "content"),
    [
        ([APP], ["logo.png"], [], VERSION),
        ([APP], ["logo.png"], ["2024/"], DATA),
        ([APP, READER], ["logo.png"], ["2024/"], DATA),
        ([READER], ["logo.png"], ["2024/"], VERSION),
        ([APP], [], [], DATA),
        ([APP], ["app.py"], ["db.sqlite3"], MIXED),
        ([APP], ["settings.sample.py"], ["settings.py"], DATA),
        ([EDGE], ["site.conf"], ["certs/"], VERSION),
        ([EDGE], [], ["certs/"], DATA),
        ([EDGE, APP], ["logo.png"], ["2024/"], DATA),
        ([STORE], ["init.sql"], [], DATA),
        ([READER], [], ["a"], VERSION),
    ],
)
def test_content(users: list[tuple[str, bool]], known: list[str], own: list[str], content: str) -> None:
    assert content_of(users, known, own) == content


@given(st.lists(NAMES), st.lists(NAMES, min_size=1))
def test_what_only_the_server_has_is_never_replaced_where_an_app_writes(known: list[str], own: list[str]) -> None:
    assert content_of([APP], known, own) != VERSION


def test_what_is_made_anew_nobody_misses() -> None:
    made = [
        "__pycache__/",
        "a/__pycache__/x.pyc",
        "node_modules/",
        "x.pyc",
        "gunicorn.pid",
        "debug.log",
        "staticfiles/",
        ".env",
    ]
    assert worth_keeping([*made, ".gitkeep", "uploads/", "db.sqlite3", "static.png"]) == [
        "db.sqlite3",
        "static.png",
        "uploads/",
    ]


def test_a_database_is_told_by_its_name() -> None:
    assert is_store("data/db.sqlite3") and is_store("x.db") and not is_store("db.py")


def test_a_few_are_named_and_all_counted() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named([str(n) for n in range(6)]) == "0, 1, 2, 3 and 2 more"
