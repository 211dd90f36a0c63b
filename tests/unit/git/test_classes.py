# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kind of change a file is, on diffs of public projects and by rules that hold for any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.git.changes import Change
from ansible_collections.evenkeel.deploy.plugins.module_utils.git.classes import (
    BUILD,
    CLASSES,
    CODE,
    COMPOSE,
    DOCS,
    MIGRATION,
    NGINX,
    NONE,
    RELOAD,
    ROLLING,
    UNKNOWN,
    class_of,
    classified,
    weakest_strategy,
)

DIFFS: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "stacks/diffs.yaml").read_text(encoding="utf-8")
)


def change_of(line: str) -> Change:
    """A line of diffs.yaml: git's letter, for a link or a submodule its mode, and the path."""
    letter, rest = line.split(" ", 1)
    first, _space, path = rest.partition(" ")
    return Change(path, letter, first, first) if first in ("120000", "160000") else Change(rest, letter)


def test_there_are_as_many_diffs_as_were_asked_for() -> None:
    assert len(DIFFS) >= 60


@pytest.mark.parametrize("diff", DIFFS, ids=lambda diff: diff["name"])
def test_each_diff_is_what_an_operator_says(diff: dict[str, Any]) -> None:
    found = classified(map(change_of, diff["files"]))
    assert {name: len(paths) for name, paths in found.items()} == diff["classes"], found
    assert weakest_strategy(found) == diff["strategy"]


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("ops/site.conf", "server {\n  listen 80;\n}\n", NGINX),
        ("ops/site.conf", "[program:web]\n", CODE),
        ("ops/site.conf", None, CODE),
        ("data/release", "#!/bin/sh\n", BUILD),
        ("data/release", "\x7fELF", UNKNOWN),
        ("data/release", None, UNKNOWN),
    ],
)
def test_content_decides_where_the_path_does_not(path: str, text: str | None, expected: str) -> None:
    assert class_of(Change(path), content=lambda _path: text) == expected


def test_the_apps_own_compose_files_may_be_called_anything() -> None:
    assert class_of(Change("deploy/production.yml"), ["deploy/production.yml"]) == COMPOSE
    assert class_of(Change("deploy/production.yml")) == CODE


def test_a_link_is_unknown_wherever_it_lies_and_a_file_that_is_gone_is_what_it_was() -> None:
    assert class_of(Change("docs/index.md", mode="120000")) == UNKNOWN
    assert class_of(Change("shop/migrations/0002_x.py", "D", mode="000000")) == MIGRATION
    assert class_of(Change("README.md", "A", before="000000")) == DOCS


PATHS = st.lists(st.text("abcdtesmplain._-/", min_size=1, max_size=30), min_size=1, max_size=6)
STRENGTH = {NONE: 0, RELOAD: 1, ROLLING: 2}


@given(PATHS, PATHS)
def test_more_files_never_make_a_weaker_strategy(some: list[str], more: list[str]) -> None:
    few = weakest_strategy(classified(map(Change, some)))
    assert STRENGTH[weakest_strategy(classified(map(Change, [*some, *more])))] >= STRENGTH[few]


@given(PATHS)
def test_each_file_has_one_class_and_the_strongest_comes_first(paths: list[str]) -> None:
    found = classified(map(Change, paths))
    assert sorted(p for of in found.values() for p in of) == sorted(paths)
    assert list(found) == sorted(found, key=CLASSES.index, reverse=True)


@given(
    st.sampled_from(["py", "html", "js", "ts", "conf", "sql", "xyz", ""]), st.sampled_from(["docs", "doc", "shop/docs"])
)
def test_what_may_run_is_no_documentation_because_of_its_folder(end: str, folder: str) -> None:
    assert class_of(Change(f"{folder}/views{'.' if end else ''}{end}")) != DOCS
