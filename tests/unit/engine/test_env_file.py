# SPDX-License-Identifier: GPL-3.0-or-later
"""Single variables of an environment file, held against what Compose itself reads."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.action import hotfix_patch as action
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.env_file import (
    BadEnvironment,
    with_lines,
    with_values,
)

TEXT = "# ours\nA=1\nexport B='two words'\n\nC=\"x$A\"\nA=3\n"


def test_variables_are_set_again_as_another_text_sets_them() -> None:
    text, before = "# A=9\nA=2\nB='x y'\nNEW=1\nA=3\n", 'B=old\nexport A="1"\nGONE=0\n'
    assert with_lines(text, ["A", "NEW", "GONE"], before) == "# A=9\nexport A=\"1\"\nB='x y'\nGONE=0\n"
    assert with_lines(text, [], before) == text
    with pytest.raises(BadEnvironment):
        with_lines(text, ["A"], "no variable\n")


def test_only_what_is_named_changes() -> None:
    assert with_values(TEXT, {"B": "new"}) == TEXT.replace("export B='two words'", "B=new")
    assert with_values(TEXT, {"A": "9"}) == TEXT.replace("A=1", "A=9", 1).replace("A=3\n", "")
    assert with_values(TEXT, {"NEW": "a b"}) == f"{TEXT}NEW='a b'\n"
    assert with_values("A=1", {"A": "1"}) == "A=1\n"


@pytest.mark.parametrize(
    ("text", "values"),
    [("A=1\nnonsense\n", {"A": "2"}), ("A='1\n2'\n", {"B": "2"}), ("", {"1A": ""}), ("", {"A-B": ""}), ("", {"A": "x\ny"}),
     ("", {"COMPOSE_FILE": "x"}), ("", {"A": "x\0"}), ("=1\n", {"A": "1"})],
)  # fmt: skip
def test_what_cannot_be_is_refused_without_a_value_in_the_words(text: str, values: dict[str, str]) -> None:
    with pytest.raises(BadEnvironment) as caught:
        with_values(text, values)
    assert "x\ny" not in str(caught.value) and "nonsense" not in str(caught.value)


@given(st.dictionaries(st.sampled_from("ABCDE"), st.text(alphabet="ab '\"$\\#=@{}", max_size=6)))
def test_a_second_time_changes_nothing(values: dict[str, str]) -> None:
    once = with_values(TEXT, values)
    assert with_values(once, values) == once


HOSTILE = [
    "",
    "plain",
    "a b",
    "it's",
    'say "x"',
    "$HOME",
    "${A:-x}",
    "back\\slash",
    "a\\n'b",
    "#x",
    "a #b",
    "'",
    '"',
    "x=y",
    "'\"$\\",
    "ü€",
    " a ",
    "a$$b'",
]


def test_compose_reads_exactly_what_was_given(tmp_path: Path) -> None:
    values = {f"V{n}": value for n, value in enumerate(HOSTILE)}
    (tmp_path / ".env").write_text(with_values(TEXT, values))
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x, env_file: .env}}")
    done = subprocess.run(
        ["docker", "compose", "--project-directory", str(tmp_path), "config", "--format", "json"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    read = json.loads(done.stdout)["services"]["a"]["environment"]
    # It doubles each dollar sign in what it prints.
    assert {k: read[k].replace("$$", "$") for k in values} == values


def test_values_on_the_command_line_are_refused(tmp_path: Path) -> None:
    for fine in ("@file", "hotfix_ref=x", '{"hotfix_env": {"A": "@/x", "B": "@/y"}}'):
        action.refuse_literals([fine])
    for literal in (
        '{"hotfix_env": {"A": "secret"}}',
        "hotfix_env=x",
        "{hotfix_env: {A: '@/x', B: 1}}",
        "hotfix_env={'A': 'b'}",
    ):
        with pytest.raises(action.Unreadable) as caught:
            action.refuse_literals([literal])
        assert "secret" not in str(caught.value)
    path = tmp_path / "value"
    path.write_text("s3cret\n")
    (read,) = action.with_contents({"env": [{"name": "A", "text": f"@{path}"}]})["env"]
    assert read == {"name": "A", "value": "czNjcmV0"}
    (typed,) = action.with_contents({"env": [{"name": "A", "text": "s3cret"}]})["env"]
    assert typed == read
