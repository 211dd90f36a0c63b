# SPDX-License-Identifier: GPL-3.0-or-later
"""What was rolled back is not deployed again by the next update, on real repositories."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.git.host.git import Git
from ansible_collections.evenkeel.deploy.plugins.module_utils.git.host.history import history, revert
from ansible_collections.evenkeel.deploy.plugins.module_utils.git.reverted import Commit, still_brought
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.unit.app_on_a_server import App, commit, git, refusal
from tests.unit.restored_folder import Restored


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Restored[App]:
    return Restored(tmp_path_factory.mktemp("app"), gone_back)


@pytest.fixture
def app(apps: Restored[App]) -> App:
    return apps()


def gone_back(folder: Path) -> App:
    """An app that went to a second version and was rolled back from it."""
    made = App(folder)
    first = serve(made)
    commit(made.source, wrong="1")
    commit(made.source, more="1")
    serve(made)
    made("active", release=first, left="bad")
    return made


def rolled_back(app: App) -> str:
    """The id of the release that was left."""
    return next(r.id for r in Store(str(app.root)).all() if r.left_for)


def serve(app: App, **more: str) -> str:
    name = app.built(**more)
    app("active", release=name)
    return name


def test_the_same_and_what_comes_after_it_are_refused(app: App) -> None:
    said = refusal(app)
    assert "still has what was rolled back with release" in said and "git revert" in said
    later = commit(app.source, other="1")
    said = refusal(app)
    assert later[:12] in said and "update_allow_bad=" in said
    # Before the bad ones, or beside them: nothing of theirs.
    git(app.source, "switch", "--quiet", "--create", "beside", app.first)
    commit(app.source, beside="1")
    assert app(version="beside")["changed"]


def test_check_mode_says_it_too(app: App) -> None:
    assert "still has" in refusal(app, check=True)


def test_what_was_reverted_is_taken_up_and_what_was_brought_back_is_not(app: App) -> None:
    for back in ("HEAD", "HEAD~2"):
        git(app.source, "revert", "--no-edit", back)
    commit(app.source, other="1")
    assert app()["changed"]
    git(app.source, "revert", "--no-edit", "HEAD~1")
    assert "still has" in refusal(app)


def test_one_of_two_reverted_is_not_enough(app: App) -> None:
    git(app.source, "revert", "--no-edit", "HEAD~1")
    said = refusal(app)
    assert "more" not in said.split("Next")[0].split("release")[0] and said.count("'x'") == 1


def test_taken_back_by_hand_in_one_commit(app: App) -> None:
    commit(app.source, other="1")
    git(app.source, "rm", "--quiet", "wrong", "more")
    git(app.source, "commit", "--quiet", "--message", "Take it out")
    assert app()["changed"]


def test_taken_out_of_a_file_that_changed_otherwise(tmp_path: Path) -> None:
    app = App(tmp_path)
    lines = "".join(f"{n}\n" for n in range(40))
    commit(app.source, code=lines)
    first = serve(app)
    commit(app.source, code=lines.replace("5\n", "wrong\n", 1))
    serve(app)
    app("active", release=first, left="bad")
    commit(app.source, code=lines.replace("30\n", "another\n").replace("5\n", "wrong\n", 1))
    assert "still has" in refusal(app)
    commit(app.source, code=lines.replace("30\n", "another\n"))
    assert app()["changed"]


def test_what_cannot_be_told_is_refused_and_says_so(app: App) -> None:
    commit(app.source, wrong="2", more="2")
    assert "cannot be told" in refusal(app)


def test_a_named_one_is_accepted_and_from_then_on_without_a_word(app: App) -> None:
    commit(app.source, wrong="mended")
    said = refusal(app, accept_bad="1234567")
    assert (
        "still has" in said
        and f"no release that was rolled back here is 1234567; there are: {rolled_back(app)}" in said
    )
    # Too short to mean one.
    revision = Store(str(app.root)).manifest(rolled_back(app))["revision"]
    assert "still has" in refusal(app, accept_bad="1") and "still has" in refusal(app, accept_bad=revision[:6])
    assert "notes" not in app(check=True, accept_bad=revision[:7])
    serve(app, accept_bad=rolled_back(app))
    commit(app.source, other="1")
    assert app()["changed"]


def test_a_host_that_does_not_have_the_named_one_notes_it_and_goes_on(tmp_path: Path) -> None:
    second = App(tmp_path)
    for check in (True, False):
        done = second(check=check, accept_bad="1234567")
        assert done["notes"] == ["no release that was rolled back here is 1234567; there are: none"], done
    assert done["changed"] and done["release"] in second.names()


def test_a_release_that_failed_by_itself_is_tried_again(app: App, tmp_path: Path) -> None:
    other = App(tmp_path / "other")
    serve(other)
    commit(other.source, second="1")
    failed = other.built()
    other("bad", release=failed)
    assert other()["release"] != failed


def test_a_plain_folder_is_known_again_by_its_content(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.mkdir()
    (upload / "index.html").write_text("1")
    app = App(tmp_path)
    first = serve(app, repo=str(upload))
    (upload / "index.html").write_text("2")
    serve(app, repo=str(upload))
    app("active", release=first, left="bad")
    assert "still has" in refusal(app, repo=str(upload))
    (upload / "index.html").write_text("3")
    assert app(repo=str(upload))["changed"]


# -- contents, whatever commits are called and say ------------------------------------------------------------


def test_a_message_that_says_it_reverts_is_not_believed_alone(app: App) -> None:
    bad, more = git(app.source, "rev-parse", "HEAD~1"), git(app.source, "rev-parse", "HEAD")
    (app.source / "notes").write_text("1")
    git(app.source, "add", "--all")
    git(app.source, "commit", "--quiet", "--message", f"x\n\nThis reverts commit {bad}.\nThis reverts commit {more}.")
    assert "still has" in refusal(app)


def test_half_a_revert_is_none(tmp_path: Path) -> None:
    app = App(tmp_path)
    first = serve(app)
    bad = commit(app.source, one="wrong", two="wrong")
    serve(app)
    app("active", release=first, left="bad")
    git(app.source, "rm", "--quiet", "one")
    git(app.source, "commit", "--quiet", "--message", f"Revert\n\nThis reverts commit {bad}.")
    assert "still has" in refusal(app)
    git(app.source, "rm", "--quiet", "two")
    git(app.source, "commit", "--quiet", "--message", "The rest")
    assert app()["changed"]


def test_a_revert_that_met_a_conflict_counts_by_what_it_leaves(tmp_path: Path) -> None:
    app = App(tmp_path)
    lines = [f"{n}" for n in range(40)]
    commit(app.source, code="\n".join(lines))
    first = serve(app)
    lines[5] = "wrong"
    bad = commit(app.source, code="\n".join(lines))
    serve(app)
    app("active", release=first, left="bad")
    lines[30] = "another"
    commit(app.source, code="\n".join(lines))
    lines[5], lines[20] = "5", "with it"
    (app.source / "code").write_text("\n".join(lines))
    git(app.source, "commit", "--quiet", "--all", "--message", f"Revert\n\nThis reverts commit {bad}.")
    lines[5] = "a later thought"
    commit(app.source, code="\n".join(lines))
    assert app()["changed"]


@pytest.fixture
def beside(app: App) -> App:
    """Back at the first version, on a branch of its own."""
    git(app.source, "switch", "--quiet", "--create", "beside", app.first)
    commit(app.source, beside="1")
    return app


def test_what_is_picked_again_under_another_id_is_refused(beside: App) -> None:
    git(beside.source, "cherry-pick", "main~1")
    picked = git(beside.source, "rev-parse", "HEAD")
    said = refusal(beside, version="beside")
    assert picked[:10] in said and "update_allow_bad=" in said
    git(beside.source, "revert", "--no-edit", "HEAD")
    assert beside(version="beside")["changed"]


def test_what_was_picked_and_taken_out_by_hand_is_taken_up(beside: App) -> None:
    git(beside.source, "cherry-pick", "main~1")
    commit(beside.source, other="1")
    git(beside.source, "rm", "--quiet", "wrong")
    git(beside.source, "commit", "--quiet", "--message", "Without it")
    assert beside(version="beside")["changed"]


def test_what_is_picked_again_after_it_was_reverted_is_refused(app: App) -> None:
    for back in ("HEAD", "HEAD~2"):
        git(app.source, "revert", "--no-edit", back)
    assert app(check=True)["changed"] is not None
    git(app.source, "cherry-pick", "HEAD~3")
    assert "still has" in refusal(app)


@pytest.mark.parametrize("more", [False, True])
def test_what_comes_squashed_is_refused(beside: App, more: bool) -> None:
    git(beside.source, "merge", "--squash", "main")
    if more:
        (beside.source / "with_it").write_text("1")
        git(beside.source, "add", "--all")
    git(beside.source, "commit", "--quiet", "--message", "All of it")
    assert "still has" in refusal(beside, version="beside")


def test_another_change_of_the_same_lines_is_not_it(beside: App) -> None:
    commit(beside.source, wrong="mended", more="mended")
    assert beside(version="beside")["changed"]


def test_what_the_good_one_had_as_well_is_not_brought(tmp_path: Path) -> None:
    app = App(tmp_path)
    git(app.source, "switch", "--quiet", "--create", "topic")
    commit(app.source, both="1")
    git(app.source, "switch", "--quiet", "main")
    git(app.source, "cherry-pick", "topic")
    first = serve(app)
    git(app.source, "switch", "--quiet", "topic")
    commit(app.source, wrong="1")
    serve(app, version="topic")
    app("active", release=first, left="bad")
    git(app.source, "switch", "--quiet", "main")
    commit(app.source, later="1")
    assert app()["changed"]


def test_a_version_that_never_had_what_was_taken_back_brings_nothing_by_that(tmp_path: Path) -> None:
    app = App(tmp_path)
    commit(app.source, price="1")
    serve(app)
    # A hotfix on what runs, taken back beside the branch that updates come from; and then the way back to the hotfix.
    git(app.source, "switch", "--quiet", "--create", "hotfix")
    commit(app.source, price="2")
    fixed = serve(app, version="hotfix")
    git(app.source, "revert", "--no-edit", "HEAD")
    git(app.source, "commit", "--quiet", "--amend", "--message", "Take back hotfix price")
    serve(app, version="hotfix")
    app("active", release=fixed, left="bad")
    git(app.source, "switch", "--quiet", "main")
    commit(app.source, later="1")
    assert app()["changed"]


def test_check_mode_says_what_only_a_fetch_can_tell(app: App) -> None:
    assert "notes" not in app(check=True, accept_bad=rolled_back(app))
    commit(app.source, other="1")
    seen = app(check=True)
    assert seen["notes"] == [
        f"whether main still has what was rolled back with release {rolled_back(app)}: unknown until fetched"
    ]
    assert "still has" in refusal(app)
    # Fetched by then.
    assert "still has" in refusal(app, check=True)


# -- the commits that take back -----------------------------------------------------------------------------


def merged(app: App) -> None:
    """Two commits of a branch come in by a merge."""
    git(app.source, "switch", "--quiet", "--create", "topic")
    commit(app.source, topic="1")
    commit(app.source, topic="2")
    git(app.source, "switch", "--quiet", "main")
    commit(app.source, meanwhile="1")
    git(app.source, "merge", "--quiet", "--no-ff", "--no-edit", "topic")


def test_commits_that_take_back_give_the_tree_from_before_and_are_known_as_that(tmp_path: Path) -> None:
    app = App(tmp_path)
    first = serve(app)
    commit(app.source, wrong="1")
    merged(app)
    bad = serve(app)
    head = git(app.source, "rev-parse", "HEAD")
    app("active", release=first, left="bad")
    mirror = Git(str(app.root / "mirror.git"))
    tip = revert(mirror, app.first, head)
    assert mirror.inside("rev-parse", f"{tip}^{{tree}}") == mirror.inside("rev-parse", f"{app.first}^{{tree}}")
    assert len(history(mirror, "--first-parent", tip, f"^{head}")) == 3
    git(app.source, "fetch", "--quiet", str(app.root / "mirror.git"), tip)
    commit(app.source, after="1")
    assert bad in refusal(app)
    git(app.source, "merge", "--quiet", "--no-edit", "FETCH_HEAD")
    # Merged into trunk, as a developer would: by what it says.
    commit(app.source, wrong="another thing of that name")
    assert app()["changed"]


def test_from_a_side_branch_one_commit_takes_all_back(tmp_path: Path) -> None:
    app = App(tmp_path)
    merged(app)
    head, topic = git(app.source, "rev-parse", "HEAD"), git(app.source, "rev-parse", "topic")
    mirror = Git(str(app.source / ".git"))
    tip = revert(mirror, topic, head)
    assert mirror.inside("rev-parse", f"{tip}^{{tree}}") == mirror.inside("rev-parse", f"{topic}^{{tree}}")
    assert still_brought({head}, history(mirror, tip, f"^{topic}")) == []


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_each_commit_is_there_as_often_as_it_was_not_taken_back(seed: int) -> None:
    """Reverts of reverts of any depth, against a count."""
    dice = random.Random(seed)
    ids = [f"{n:040x}" for n in range(1, 30)]
    log: list[Commit] = []
    bad: set[str] = set()
    there: set[str] = set()
    means: dict[str, tuple[str, bool]] = {}
    for one in ids:
        parents = (log[-1].id,) if log else ()
        revertable = [c for c in means if (means[c][0] in there) == means[c][1]]
        if revertable and dice.random() < 0.6:
            target = dice.choice(revertable)
            what, adds = means[target]
            means[one] = (what, not adds)
            there = there - {what} if adds else there | {what}
            log.append(Commit(one, parents, f"Revert\n\nThis reverts commit {target}.\n"))
        else:
            means[one] = (one, True)
            bad.add(one)
            there.add(one)
            log.append(Commit(one, parents, "x"))
    assert {c.id for c in still_brought(bad, log)} == there
