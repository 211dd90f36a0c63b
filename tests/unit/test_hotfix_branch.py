# SPDX-License-Identifier: GPL-3.0-or-later
"""The branch of a hotfix from start to finish, on bare repositories that really refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.decide import hotfix_branches
from ansible_collections.evenkeel.deploy.plugins.module_utils.host import git_hotfixes, hotfix_ledger
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.call_result import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.git import Git
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.hotfix_branch_call import change
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.release_store import Store
from tests.unit.app_on_a_server import App, commit, git

TEXT = "".join(f"line {n}\n" for n in range(30))


class Team(App):
    """A bare repository, a developer's checkout beside it, and what runs: one commit behind main, with a tag."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.dev, self.bare = self.source, folder / "bare.git"
        commit(self.dev, code=TEXT, other="1")
        git(self.dev, "tag", "16.03.1")
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        git(self.dev, "remote", "add", "origin", str(self.bare))
        self.source = self.bare
        self.push("main", "16.03.1")
        self.base = self.at("main")
        self("active", release=self.built())
        commit(self.dev, other="2")
        self.push("main")

    def push(self, *refs: str) -> None:
        git(self.dev, "push", "--quiet", "origin", *refs)

    def at(self, branch: str) -> str:
        return git(self.bare, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")

    def branches(self) -> list[str]:
        return git(self.bare, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()

    def show(self, branch: str, path: str = "code") -> str:
        return git(self.bare, "show", f"{branch}:{path}") + "\n"

    def ask(self, state: str, check: bool = False, **more: Any) -> dict[str, Any]:
        params = {"path": str(self.root), "repo": str(self.bare), "state": state, "push": True, "timeout": 20.0,
                  "how": "merge", "delete": True, "into": [], "pick": [], **more}  # fmt: skip
        return change(params, check)

    def fix(self, branch: str = "hotfix/16.03.1a", text: str = TEXT.replace("line 10\n", "ten\n")) -> str:
        """A developer's commit on the branch, and that in production."""
        git(self.dev, "fetch", "--quiet", "origin")
        git(self.dev, "switch", "--quiet", branch)
        made = commit(self.dev, code=text)
        self.push(branch)
        mirror = Git(str(self.root / "mirror.git"))
        mirror.update(str(self.bare))
        store, name = Store(str(self.root)), branch.partition("/")[2]
        entry = {"name": name, "base": self.base, "commit": made}
        release = store.create(lambda target: mirror.export(made, target), made, branch, [], "x", [entry])
        hotfix_ledger.write(
            str(self.root / ".evenkeel"), name, entry, git_hotfixes.patch_between(mirror, self.base, made)
        )
        self("built", release=release)
        self("active", release=release)
        git(self.dev, "switch", "--quiet", "main")
        return made

    def refuse(self, branch: str) -> None:
        """What a protected branch does."""
        hook = self.bare / "hooks/update"
        hook.write_text(f'#!/bin/sh\nif [ "$1" = refs/heads/{branch} ]; then echo "protected branch" >&2; exit 1; fi\n')
        hook.chmod(0o755)

    def allow(self) -> None:
        (self.bare / "hooks/update").unlink()


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [(["16.03.1"], "16.03.1"), (["x", "v2.0.1c"], "v2.0.1"), ([], "26.11.1"), (["latest"], "26.11.1")],
)
def test_a_version_is_counted_on_what_runs(tags: list[str], expected: str) -> None:
    assert hotfix_branches.stem_of(tags, "20261121T101500Z-5d33865") == expected


def test_the_next_letter_is_after_all_that_tags_and_branches_have() -> None:
    assert hotfix_branches.next_free("1.2.3", []) == "1.2.3a"
    assert hotfix_branches.next_free("1.2.3", ["1.2.3a", "hotfix/1.2.3c", "1.2.30z", "1.2.3"]) == "1.2.3d"
    assert hotfix_branches.next_free("1.2.3", ["1.2.3z"]) == ""


def test_it_begins_at_what_runs_and_a_second_start_finds_it(team: Team) -> None:
    told = team.ask("started")
    assert (told["branch"], told["changed"]) == ("hotfix/16.03.1a", True) and team.at("hotfix/16.03.1a") == team.base
    assert team.ask("started")["changed"] is False and "hotfix_ref=hotfix/16.03.1a" in told["commands"][-1]
    made = team.fix()
    # That one runs: the next is one of its own.
    assert team.ask("started")["branch"] == "hotfix/16.03.1b" and team.at("hotfix/16.03.1b") == made


def test_commits_are_picked_once_and_a_conflict_is_told_with_its_commands(team: Team) -> None:
    good = commit(team.dev, code=TEXT.replace("line 20\n", "twenty\n"))
    bad = commit(team.dev, other="3")
    team.push("main")
    told = team.ask("started", name="p", pick=[good])
    assert team.show("hotfix/p") == TEXT.replace("line 20\n", "twenty\n") and team.show("hotfix/p", "other") == "1\n"
    assert f"cherry picked from commit {good}" in git(team.bare, "show", "--no-patch", "--format=%B", "hotfix/p")
    again = team.ask("started", name="p", pick=[good])
    assert (again["changed"], again["revision"]) == (False, told["revision"])
    with pytest.raises(BadInput) as caught:
        team.ask("started", name="q", pick=[bad])
    assert "conflicts" in str(caught.value) and f"cherry-pick -x {bad[:12]}" in caught.value.advice
    assert "hotfix/q" not in team.branches()


def test_a_branch_that_begins_elsewhere_and_no_right_to_push_are_told(team: Team) -> None:
    git(team.dev, "push", "--quiet", "origin", f"{team.first}:refs/heads/hotfix/other")
    with pytest.raises(BadInput, match="does not begin at the running revision"):
        team.ask("started", name="other")
    team.refuse("hotfix/new")
    told = team.ask("started", name="new")
    assert told["changed"] is False and f"git switch -c hotfix/new {team.base[:12]}" in told["commands"][0]
    assert "was not pushed" in told["notes"][0]
    assert team.ask("started", name="quiet", push=False)["changed"] is False and "hotfix/quiet" not in team.branches()


@pytest.mark.parametrize("how", ["merge", "cherry_pick"])
def test_it_is_brought_to_main_and_develop_and_the_branch_goes(team: Team, how: str) -> None:
    git(team.dev, "push", "--quiet", "origin", "main:refs/heads/develop")
    team.ask("started")
    made = team.fix()
    told = team.ask("finished", how=how)
    assert told["changed"] and team.branches() == ["develop", "main"]
    for branch in ("main", "develop"):
        assert "ten\n" in team.show(branch) and team.show(branch, "other") == "2\n"
        parents = git(team.bare, "rev-list", "--parents", "-1", branch).split()[1:]
        assert (made in parents) == (how == "merge")
    again = team.ask("finished", how=how)
    assert again["changed"] is False and again["notes"] == ["main has it already", "develop has it already"]


def test_what_conflicts_is_told_and_finished_by_the_same_call(team: Team) -> None:
    team.ask("started")
    team.fix()
    commit(team.dev, code=TEXT.replace("line 10\n", "TEN\n"))
    git(team.dev, "push", "--quiet", "origin", "main", "main~1:refs/heads/develop")
    before = team.at("main")
    told = team.ask("finished")
    assert (
        told["failed"]
        and "main did not get it" in told["msg"]
        and "git merge --no-ff origin/hotfix/16.03.1a" in told["msg"]
    )
    assert team.at("main") == before and "ten\n" in team.show("develop") and "hotfix/16.03.1a" in team.branches()
    commit(team.dev, code=TEXT.replace("line 10\n", "ten\n"))
    team.push("main")
    assert team.ask("finished")["changed"] and "hotfix/16.03.1a" not in team.branches()


def test_a_protected_branch_keeps_what_it_has(team: Team) -> None:
    team.ask("started")
    team.fix()
    team.refuse("main")
    before = team.at("main")
    told = team.ask("finished", how="cherry_pick")
    assert told["failed"] and "git cherry-pick -x" in told["msg"] and team.at("main") == before
    team.allow()
    assert team.ask("finished", how="cherry_pick")["changed"] and "hotfix/16.03.1a" not in team.branches()


def test_a_squashed_one_is_there_and_a_branch_with_more_stays(team: Team) -> None:
    team.ask("started")
    team.fix()
    commit(team.dev, code=TEXT.replace("line 10\n", "ten\n"), more="1")
    git(team.dev, "switch", "--quiet", "hotfix/16.03.1a")
    commit(team.dev, other="later")
    team.push("main", "hotfix/16.03.1a")
    told = team.ask("finished")
    assert told["changed"] is False and "has more than production: it stays" in " ".join(told["notes"])


@pytest.mark.parametrize(
    ("more", "expected"),
    [({"name": "../x"}, "cannot be the name"), ({"name": "nobody"}, "no hotfix nobody was ever"), ({}, "was ever put on production"),
     ({"into": ["nowhere"], "name": "16.03.1a"}, "no branch nowhere"), ({"into": ["--x"]}, "cannot be a commit")],
)  # fmt: skip
def test_what_cannot_be_finished_is_refused(team: Team, more: dict[str, Any], expected: str) -> None:
    if more.get("name") == "16.03.1a":
        team.ask("started")
        team.fix()
    with pytest.raises(BadInput, match=expected):
        team.ask("finished", **more)


def test_check_mode_asks_nobody(team: Team) -> None:
    assert team.ask("started", check=True, name="x")["changed"] is False and team.branches() == ["main"]
