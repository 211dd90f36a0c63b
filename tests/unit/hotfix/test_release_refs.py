# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository is told of releases, by real pushes: taken, refused, not answered, and never moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.release_refs import call as tell_repository
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.unit.app_on_a_server import App, commit, git
from tests.unit.restored_folder import Restored


class Told(App):
    """An app at its second version, with a bare repository between developers and the server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bare = folder / "bare.git"
        git(folder, "init", "--quiet", "--bare", str(self.bare))
        self.first_id = self.serve()
        self.second = commit(self.source, wrong="1")
        self.second_id = self.serve()

    def serve(self) -> str:
        git(self.source, "push", "--quiet", str(self.bare), "HEAD:refs/heads/main")
        name = self.built(repo=str(self.bare))
        self("active", release=name)
        return name

    def tell(self, release: str, **more: Any) -> dict[str, Any]:
        params = {"path": str(self.root), "repo": str(self.bare), "release": release, "state": "named", "push": True}
        return tell_repository({**params, "timeout": 10.0, **more}, False)

    def there(self, ref: str) -> str:
        return git(self.bare, "for-each-ref", "--format=%(objecttype) %(*objectname)%(objectname)", ref)


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Restored[Told]:
    return Restored(tmp_path_factory.mktemp("app"), Told)


@pytest.fixture
def app(apps: Restored[Told]) -> Told:
    return apps()


def test_a_tag_and_a_branch_are_made_once_and_never_moved(app: Told) -> None:
    names = {"tag": "r/2", "branch": "before/2", "before": app.first_id}
    told = app.tell(app.second_id, **names)
    assert told["notes"] == [] and len(told["refs"]) == 2
    assert app.there("refs/tags/r/2").startswith(f"tag {app.second}")
    assert app.there("refs/heads/before/2") == f"commit {app.first}"
    assert app.tell(app.second_id, **names)["changed"] is False
    moved = app.tell(app.first_id, tag="r/2")
    assert "the repository has it at" in moved["notes"][0] and app.there("refs/tags/r/2").startswith(
        f"tag {app.second}"
    )


def test_one_setting_names_each_release(app: Told) -> None:
    told = app.tell(app.second_id, tag="release/{release}", branch="before/{release}", before=app.first_id)
    assert told["notes"] == [] and app.there(f"refs/tags/release/{app.second_id}").startswith(f"tag {app.second}")
    assert app.there(f"refs/heads/before/{app.second_id}") == f"commit {app.first}"
    assert app.tell(app.second_id, tag="release/{release}")["changed"] is False


@pytest.mark.parametrize("name", ["--force", "a..b", "x y", "HEAD^", "a.lock"])
def test_names_that_are_none_are_refused_first(app: Told, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be the name"):
        tell_repository({"path": str(app.root), "repo": str(app.bare), "release": "any", "tag": name}, True)


def test_what_was_rolled_back_gets_a_branch_that_takes_it_back(app: Told) -> None:
    app("active", release=app.first_id, left="bad")
    branch = f"revert/{app.second[:10]}"
    told = app.tell(app.first_id, state="reverted")
    assert told["notes"] == [] and branch in told["refs"][0]
    assert git(app.bare, "rev-parse", f"{branch}^{{tree}}") == git(app.source, "rev-parse", f"{app.first}^{{tree}}")
    assert app.tell(app.first_id, state="reverted")["changed"] is False
    # Merged by a developer it lets the next update pass.
    git(app.source, "fetch", "--quiet", str(app.bare), branch)
    git(app.source, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
    git(app.source, "push", "--quiet", str(app.bare), "HEAD:refs/heads/main")
    assert app(repo=str(app.bare))["changed"]


def test_a_repository_that_takes_nothing_costs_nothing_but_a_note(app: Told) -> None:
    hook = app.bare / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
    hook.chmod(0o755)
    app("active", release=app.first_id, left="bad")
    for _again in (1, 2):
        told = app.tell(app.first_id, state="reverted", tag="x")
        assert not told["changed"] and f"git revert --no-edit {app.second[:10]}" in told["notes"][0]
    assert "git tag -a" in app.tell(app.first_id, tag="x")["notes"][0]
    hook.unlink()
    assert app.tell(app.first_id, state="reverted")["changed"]


def test_without_pushing_the_commands_are_told(app: Told) -> None:
    app("active", release=app.first_id, left="bad")
    told = app.tell(app.first_id, state="reverted", push=False)
    assert "git push origin revert/" in told["notes"][0] and app.there("refs/heads/revert") == ""


def test_a_repository_that_is_gone_and_one_without_a_mirror(app: Told) -> None:
    app("active", release=app.first_id, left="bad")
    app.bare.rename(app.bare.with_name("away"))
    assert "git revert" in app.tell(app.first_id, state="reverted")["notes"][0]
    (app.root / "mirror.git").rename(app.root / "away")
    assert "no branch that reverts" in app.tell(app.first_id, state="reverted")["notes"][0]


def test_from_an_older_release_to_a_newer_one_nothing_is_taken_back(app: Told) -> None:
    app("active", release=app.first_id)
    app("active", release=app.second_id, left="bad")
    assert app.tell(app.second_id, state="reverted") == {
        **app.tell(app.second_id, state="reverted"),
        "refs": [],
        "notes": [],
    }


def test_a_hotfix_is_pushed_as_its_branch_once_or_its_commands_are_told(app: Told) -> None:
    store = Store(str(app.root))
    about = {"name": "price", "base": app.first, "commit": app.second}
    store.note(app.second_id, hotfix=about)
    # A release without one has nothing to tell.
    assert app.tell(app.first_id, state="hotfixed") == {
        "changed": False, "refs": [], "notes": [], "msg": "nothing was pushed",
    }  # fmt: skip
    told = app.tell(app.second_id, state="hotfixed", push=False)
    (note,) = told["notes"]
    assert "git switch -c hotfix/price" in note and "hotfixes/price.patch" in note and told["refs"] == []
    git(app.bare, "branch", "hotfix/price", app.first)
    assert f"the repository has it at {app.first[:10]}" in app.tell(app.second_id, state="hotfixed")["notes"][0]
    git(app.bare, "branch", "--delete", "--force", "hotfix/price")
    assert app.tell(app.second_id, state="hotfixed")["refs"] == [
        f"branch hotfix/price at {app.second[:10]}, to be merged"
    ]
    assert app.there("refs/heads/hotfix/price") == f"commit {app.second}"
    assert app.tell(app.second_id, state="hotfixed")["changed"] is False
