# SPDX-License-Identifier: GPL-3.0-or-later
"""The branch of a hotfix from start to finish, on bare repositories that really refuse."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.hotfix_branch import call as change
from ansible_collections.evenkeel.deploy.plugins.module_utils.git.host.git import Git
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix import branches as hotfix_branches
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import branch as hotfix_branch
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import git_hotfixes, ledger
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.unit.app_on_a_server import App, commit, git
from tests.unit.restored_folder import Restored

TEXT = "".join(f"line {n}\n" for n in range(30))


class Team(App):
    """A bare repository, a developer's checkout beside it, and what runs: one commit behind main, with a tag."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.dev, self.bare, self.folder = self.source, folder / "bare.git", folder
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
        ledger.write(str(self.root / ".evenkeel"), name, entry, git_hotfixes.patch_between(mirror, self.base, made))
        self("built", release=release)
        self("active", release=release)
        git(self.dev, "switch", "--quiet", "main")
        return made

    @contextlib.contextmanager
    def protected(self, *branches: str) -> Iterator[None]:
        """What a protected branch does; without one named nobody may push anything."""
        hook = self.bare / "hooks/update"
        hook.parent.mkdir(exist_ok=True)
        known = "|".join(f"refs/heads/{b}" for b in branches) or "*"
        hook.write_text(
            f'#!/bin/sh\ncase "$1" in {known}) echo "You are not allowed to push there" >&2; exit 1;; esac\n'
        )
        hook.chmod(0o755)
        yield
        hook.unlink()

    def type(self, lines: list[str], solve: Callable[[Path], None] | None = None) -> None:
        """What the module told, typed by a developer word for word, in a clone of his own."""
        clone = self.folder / "clone"
        shutil.rmtree(clone, ignore_errors=True)
        git(self.folder, "clone", "--quiet", str(self.bare), str(clone))
        who = {f"GIT_{r}_{k}": "x" for r in ("AUTHOR", "COMMITTER") for k in ("NAME", "EMAIL")}
        for number, line in enumerate(lines):
            if line.startswith("#"):
                assert solve is not None, line
                solve(clone)
            elif not line.startswith("ansible-playbook"):
                done = subprocess.run(["bash", "-c", line], cwd=clone, env={**os.environ, **who, "GIT_EDITOR": "true"},
                                      capture_output=True, text=True, check=False)  # fmt: skip
                stops = lines[number + 1 : number + 2]
                assert done.returncode == 0 or (stops and stops[0].startswith("#")), f"{line}: {done.stderr}"

    def state(self) -> tuple[str, str, list[str]]:
        """All that a look may not have touched."""
        mirror = self.root / "mirror.git"
        return (git(self.bare, "for-each-ref"), git(mirror, "for-each-ref"), sorted(os.listdir(mirror / "objects")))


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory) -> Restored[Team]:
    return Restored(tmp_path_factory.mktemp("team"), Team)


@pytest.fixture
def team(teams: Restored[Team]) -> Team:
    return teams()


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


def test_commits_are_picked_once_also_where_their_lines_were_changed_since(team: Team) -> None:
    good = commit(team.dev, code=TEXT.replace("line 20\n", "twenty\n"))
    team.push("main")
    told = team.ask("started", name="p", pick=["main"])
    assert team.show("hotfix/p") == TEXT.replace("line 20\n", "twenty\n") and team.show("hotfix/p", "other") == "1\n"
    assert f"cherry picked from commit {good}" in git(team.bare, "show", "--no-patch", "--format=%B", "hotfix/p")
    again = team.ask("started", name="p", pick=[good])
    assert (again["changed"], again["revision"]) == (False, told["revision"])
    git(team.dev, "fetch", "--quiet", "origin")
    git(team.dev, "switch", "--quiet", "hotfix/p")
    commit(team.dev, code=TEXT.replace("line 20\n", "Twenty\n"))
    team.push("hotfix/p")
    assert team.ask("started", name="p", pick=[good])["changed"] is False


def test_of_picks_that_conflict_nothing_is_pushed_and_what_is_told_makes_the_branch(team: Team) -> None:
    picks = [commit(team.dev, more="1"), commit(team.dev, other="3"), commit(team.dev, last="1")]
    team.push("main")
    with pytest.raises(BadInput) as caught:
        team.ask("started", name="q", pick=picks)
    assert "conflicts with what is there" in str(caught.value) and "hotfix/q" not in team.branches()
    lines = [line.strip() for line in caught.value.advice.splitlines()[1:]]
    assert lines[-1] == "ansible-playbook evenkeel.deploy.hotfix -e hotfix_ref=hotfix/q"

    def solve(clone: Path) -> None:
        (clone / "other").write_text("13")
        git(clone, "add", "other")

    team.type(lines, solve)
    assert [team.show("hotfix/q", path) for path in ("more", "other", "last")] == ["1\n", "13\n", "1\n"]
    assert team.ask("started", name="q", pick=picks)["changed"] is False


def test_a_merge_cannot_be_picked_and_what_is_not_there_neither(team: Team) -> None:
    git(team.dev, "switch", "--quiet", "-c", "side", "main~1")
    commit(team.dev, side="1")
    git(team.dev, "switch", "--quiet", "main")
    git(team.dev, "merge", "--quiet", "--no-ff", "side")
    team.push("main")
    with pytest.raises(BadInput, match="is a merge"):
        team.ask("started", name="m", pick=["main"])
    with pytest.raises(BadInput, match="no branch, tag or commit nowhere"):
        team.ask("started", name="m", pick=["nowhere"])


def test_a_branch_that_begins_elsewhere_is_refused(team: Team) -> None:
    git(team.dev, "push", "--quiet", "origin", f"{team.first}:refs/heads/hotfix/other")
    with pytest.raises(BadInput, match="does not begin at the running revision"):
        team.ask("started", name="other")


@pytest.mark.parametrize("picked", [False, True])
def test_where_it_cannot_be_pushed_what_is_told_makes_the_same_branch(team: Team, picked: bool) -> None:
    more = {"name": "new", "pick": [commit(team.dev, code=TEXT.replace("line 20\n", "twenty\n"))] if picked else []}
    team.push("main")
    with team.protected("hotfix/new"):
        told = team.ask("started", **more)
    assert told["changed"] is False and "would be at" in told["msg"]
    assert "not allowed to push there" in told["notes"][0] and "hotfix/new" not in team.branches()
    team.type(told["commands"])
    assert git(team.bare, "rev-parse", "hotfix/new^{tree}") == git(
        team.root / "mirror.git", "rev-parse", f"{told['revision']}^{{tree}}"
    )
    assert team.ask("started", **more)["changed"] is False
    assert team.ask("started", name="quiet", push=False)["changed"] is False and "hotfix/quiet" not in team.branches()


def test_a_key_that_may_only_read_is_told_by_what_the_host_says(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = team.folder / "ssh"
    ssh.write_text(
        "#!/bin/bash\ncase ${@: -1} in git-receive-pack*) echo 'ERROR: The key you are authenticating with has been marked as "
        'read only.\' >&2; exit 1;; esac\neval "${@: -1}"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    told = team.ask("started", repo=f"ssh://git@host{team.bare}")
    assert told["changed"] is False and "marked as read only" in told["notes"][0]
    team.type(told["commands"])
    assert team.ask("started", repo=f"ssh://git@host{team.bare}")["changed"] is False


def test_what_runs_may_be_in_nobodys_branch_and_is_fetched_from_this_host(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.ask("started")
    made = team.fix()
    git(team.dev, "push", "--quiet", "origin", ":hotfix/16.03.1a")
    git(team.root / "mirror.git", "update-ref", "refs/evenkeel/hotfix/16.03.1a", made)
    with team.protected():
        begun, finished = team.ask("started"), team.ask("finished")
    ssh = team.folder / "ssh"
    ssh.write_text('#!/bin/bash\neval "${@: -1}"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    assert f"{os.uname().nodename}:{team.root}/mirror.git {made}" in begun["commands"][1]
    # That name was of another one, whose branch is gone.
    team.type(begun["commands"])
    assert team.at("hotfix/16.03.1b") == made
    git(team.dev, "push", "--quiet", "origin", ":hotfix/16.03.1b")
    team.type(finished["commands"])
    assert "ten\n" in team.show("main") and team.ask("finished")["changed"] is False


def test_a_tag_with_commits_of_production_only_is_a_base(team: Team) -> None:
    git(team.dev, "switch", "--quiet", "-c", "release", "main~1")
    commit(team.dev, production="1")
    git(team.dev, "tag", "--annotate", "-m", "x", "16.04.2b")
    git(team.dev, "push", "--quiet", "origin", "16.04.2b")
    git(team.dev, "switch", "--quiet", "main")
    git(team.dev, "branch", "--quiet", "-D", "release")
    team("active", release=team.built(version="16.04.2b"))
    team.base = git(team.dev, "rev-parse", "16.04.2b^{commit}")
    with team.protected():
        by_hand = team.ask("started", name="hand")["commands"]
    team.type(by_hand)
    told = team.ask("started")
    # The tag's own letter is taken.
    assert (told["branch"], team.at(told["branch"]), team.at("hotfix/hand")) == (
        "hotfix/16.04.2c",
        team.base,
        team.base,
    )
    team.fix("hotfix/16.04.2c")
    git(team.dev, "push", "--quiet", "origin", "main:refs/heads/develop")
    assert team.ask("finished", into=["main"], how="cherry_pick", delete=False)["refs"][0].startswith("main at")
    assert "production" not in git(team.bare, "ls-tree", "--name-only", "main")
    assert team.ask("finished", into=["develop"])["changed"] and team.show("develop", "production") == "1\n"
    assert "hotfix/16.04.2c" not in team.branches()


def test_letters_end(team: Team) -> None:
    git(team.dev, "push", "--quiet", "origin", "main~1:refs/heads/hotfix/16.03.1z")
    assert team.ask("started")["branch"] == "hotfix/16.03.1z"
    git(team.dev, "push", "--quiet", "--force", "origin", f"{team.first}:refs/heads/hotfix/16.03.1z")
    with pytest.raises(BadInput, match=r"every letter after 16\.03\.1 is taken"):
        team.ask("started")


def test_names_of_strangers_are_words_in_what_is_told_and_steer_no_terminal(team: Team) -> None:
    lines = hotfix_branches.to_bring(
        "main;rm -rf $HOME", "a", "1" * 40, hotfix_branches.Known("2" * 40, "v'1"), [], "merge"
    )
    assert "git fetch origin tag 'v'\"'\"'1'" in lines and "git switch 'main;rm -rf $HOME'" in lines
    with team.protected():
        hook = team.bare / "hooks/update"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nprintf '\\033[2Jno\\n' >&2; exit 1\n")
        told = team.ask("started")
    assert "\033" not in told["notes"][0] and "no" in told["notes"][0]


# -- to the finish ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old_git", [False, True])
@pytest.mark.parametrize("how", ["merge", "cherry_pick"])
def test_it_is_brought_to_main_and_develop_and_the_branch_goes(
    team: Team, how: str, old_git: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old_git:
        monkeypatch.setattr(Git, "version", lambda _git: (2, 34))
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


def test_of_two_the_last_is_brought_and_the_other_is_named(team: Team) -> None:
    team.ask("started")
    first = team.fix()
    store, mirror = Store(str(team.root)), Git(str(team.root / "mirror.git"))
    second = git_hotfixes.commit_files(mirror, first, {"more": b"1"}, "Hotfix b")
    git(team.root / "mirror.git", "update-ref", "refs/evenkeel/hotfix/b", second)
    chain = [{"name": "16.03.1a", "base": team.base, "commit": first}, {"name": "b", "base": first, "commit": second}]
    release = store.create(lambda target: mirror.export(second, target), second, "hotfix/b", [], "x", chain)
    team("built", release=release)
    team("active", release=release)
    told = team.ask("finished", how="cherry_pick", check=True)
    assert "16.03.1a is in production as well, and not in main" in told["notes"]
    told = team.ask("finished", how="cherry_pick")
    assert told["branch"] == "hotfix/b" and "16.03.1a is in production as well, and not in main" in told["notes"]
    assert "ten\n" not in team.show("main") and team.show("main", "more") == "1\n"
    assert team.ask("finished", name="16.03.1a")["notes"] == [] and "ten\n" in team.show("main")


def test_a_hotfix_with_a_merge_in_it_is_picked_as_one_commit(team: Team) -> None:
    team.ask("started")
    git(team.dev, "fetch", "--quiet", "origin")
    git(team.dev, "switch", "--quiet", "-c", "part", "origin/hotfix/16.03.1a")
    commit(team.dev, part="1")
    git(team.dev, "switch", "--quiet", "hotfix/16.03.1a")
    commit(team.dev, whole="1")
    git(team.dev, "merge", "--quiet", "--no-edit", "part")
    team.fix()
    with team.protected("main"):
        told = team.ask("finished", how="cherry_pick")
    assert told["failed"] and any("git apply --index --3way" in line for line in told["commands"])
    assert team.ask("finished", how="cherry_pick")["changed"]
    assert (
        team.show("main", "part") == "1\n" and len(git(team.bare, "rev-list", "--parents", "-1", "main").split()) == 2
    )


@pytest.mark.parametrize("how", ["merge", "cherry_pick"])
def test_a_conflict_is_solved_by_hand_and_the_same_call_ends_it(team: Team, how: str) -> None:
    team.ask("started")
    team.fix()
    commit(team.dev, code=TEXT.replace("line 10\n", "TEN\n"))
    git(team.dev, "push", "--quiet", "origin", "main", "main~1:refs/heads/develop")
    before = team.at("main")
    told = team.ask("finished", how=how)
    assert told["failed"] and "main did not get it" in told["msg"] and "hotfix/16.03.1a stays" in told["msg"]
    assert team.at("main") == before and "ten\n" in team.show("develop") and "hotfix/16.03.1a" in team.branches()

    def solve(clone: Path) -> None:
        (clone / "code").write_text(TEXT.replace("line 10\n", "Ten, by both\n"))
        git(clone, "add", "code")

    team.type(told["commands"], solve)
    again = team.ask("finished", how=how)
    assert again["changed"] and "hotfix/16.03.1a" not in team.branches()
    assert "somebody solved a conflict" in again["notes"][0] and "by both" in team.show("main")
    assert team.ask("finished", how=how)["changed"] is False


@pytest.mark.parametrize("how", ["merge", "cherry_pick"])
def test_a_protected_branch_keeps_what_it_has_and_what_is_told_is_the_same(team: Team, how: str) -> None:
    team.ask("started")
    team.fix()
    before = team.at("main")
    with team.protected("main"):
        told = team.ask("finished", how=how)
    assert told["failed"] and "not allowed to push there" in told["msg"] and team.at("main") == before
    # Whoever may push types it.
    team.type(told["commands"])
    ended = team.ask("finished", how=how)
    assert ended["refs"] == ["branch hotfix/16.03.1a is gone"] and "ten\n" in team.show("main")


def test_a_branch_that_may_not_be_taken_away_is_a_note(team: Team) -> None:
    team.ask("started")
    team.fix()
    git(team.bare, "config", "receive.denyDeletes", "true")
    told = team.ask("finished")
    assert told["changed"] and not told.get("failed") and "stays" in told["notes"][-1]
    git(team.bare, "config", "receive.denyDeletes", "false")
    team.type(told["commands"])
    assert team.ask("finished")["changed"] is False


def test_killed_after_each_push_the_same_call_ends_it(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    git(team.dev, "push", "--quiet", "origin", "main:refs/heads/develop")
    team.ask("started")
    team.fix()
    take = hotfix_branch.Remote.take

    def killed(*args: Any) -> None:
        take(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(hotfix_branch.Remote, "take", killed)
    for left in (["develop", "hotfix/16.03.1a", "main"], ["develop", "hotfix/16.03.1a", "main"], ["develop", "main"]):
        with pytest.raises(KeyboardInterrupt):
            team.ask("finished")
        assert team.branches() == left
    monkeypatch.undo()
    assert team.ask("finished")["changed"] is False and "ten\n" in team.show("develop")


def test_a_branch_that_moves_meanwhile_loses_nothing(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    team.ask("started")
    team.fix()
    take = hotfix_branch.Remote.take

    def late(*args: Any) -> None:
        commit(team.dev, late="1")
        team.push("main")
        monkeypatch.undo()
        take(*args)

    monkeypatch.setattr(hotfix_branch.Remote, "take", late)
    told = team.ask("finished")
    assert told["failed"] and "stale info" in told["msg"] and team.show("main", "late") == "1\n"
    assert team.ask("finished")["changed"] and team.show("main", "late") == "1\n" and "ten\n" in team.show("main")


def test_what_was_reverted_since_is_not_brought_again_by_itself(team: Team) -> None:
    team.ask("started")
    team.fix()
    team.ask("finished", delete=False)
    git(team.dev, "pull", "--quiet", "origin", "main")
    commit(team.dev, code=TEXT)
    team.push("main")
    before = team.at("main")
    told = team.ask("finished")
    assert told["failed"] and "has taken it back since" in told["msg"] and team.at("main") == before
    team.type(told["commands"])
    assert "ten\n" in team.show("main") and not team.ask("finished").get("failed")


def test_a_squashed_one_is_there_and_a_branch_with_more_stays(team: Team) -> None:
    team.ask("started")
    team.fix()
    commit(team.dev, code=TEXT.replace("line 10\n", "ten\n"), more="1")
    git(team.dev, "switch", "--quiet", "hotfix/16.03.1a")
    commit(team.dev, other="later")
    team.push("main", "hotfix/16.03.1a")
    told = team.ask("finished")
    assert told["changed"] is False and "has more than production: it stays" in " ".join(told["notes"])


def test_what_was_rolled_back_is_not_brought_to_main(team: Team) -> None:
    before = os.path.basename(os.readlink(team.root / "current"))
    team.ask("started")
    team.fix()
    team("active", release=before)
    with pytest.raises(BadInput, match="was rolled back"):
        team.ask("finished", name="16.03.1a")
    assert "hotfix/16.03.1a" in team.branches()


def test_without_a_branch_that_the_repository_calls_its_own_main_is_meant_or_nobody_knows(team: Team) -> None:
    git(team.bare, "symbolic-ref", "HEAD", "refs/heads/nowhere")
    git(team.dev, "push", "--quiet", "origin", "main:refs/heads/develop")
    team.ask("started")
    team.fix()
    assert [r.split()[0] for r in team.ask("finished")["refs"]] == ["main", "develop", "branch"]
    git(team.dev, "push", "--quiet", "origin", "main:refs/heads/trunk", ":main")
    with pytest.raises(BadInput, match="nobody can tell") as caught:
        team.ask("finished")
    assert "there are: develop, trunk" in caught.value.advice


@pytest.mark.parametrize(
    ("more", "expected"),
    [({"name": "../x"}, "cannot be the name"), ({"name": "nobody"}, "no hotfix nobody was ever"), ({}, "was ever put on production"),
     ({"into": ["nowhere"], "name": "16.03.1a"}, "no branch nowhere"), ({"into": ["--x"]}, "cannot be a commit"),
     ({"into": ["hotfix/16.03.1a"], "name": "16.03.1a"}, "own branch"), ({"name": "picture"}, "changed no file of the repository")],
)  # fmt: skip
def test_what_cannot_be_finished_is_refused(team: Team, more: dict[str, Any], expected: str) -> None:
    if more.get("name") == "16.03.1a":
        team.ask("started")
        team.fix()
    ledger.write(str(team.root / ".evenkeel"), "picture", {"name": "picture", "live": {}}, "")
    before = team.state()[0]
    with pytest.raises(BadInput, match=expected):
        team.ask("finished", **more)
    assert team.state()[0] == before


def test_check_mode_says_what_would_be_and_touches_neither_repository_nor_mirror(team: Team) -> None:
    good = commit(team.dev, code=TEXT.replace("line 20\n", "twenty\n"))
    team.push("main")
    looked = team.state()
    told = team.ask("started", check=True, pick=[good])
    assert told["changed"] and told["refs"] and "would be at" in told["msg"] and team.state() == looked
    did = team.ask("started", pick=[good])
    assert (did["branch"], did["revision"]) == (told["branch"], told["revision"])
    assert team.ask("started", check=True, pick=[good])["changed"] is False
    team.fix(text=TEXT.replace("line 10\n", "ten\n").replace("line 20\n", "twenty\n"))
    commit(team.dev, seen="1")
    team.push("main")
    looked = team.state()
    told = team.ask("finished", check=True)
    assert told["changed"] and "would be in main" in told["msg"] and team.state() == looked
    assert team.ask("finished")["refs"] == told["refs"]
