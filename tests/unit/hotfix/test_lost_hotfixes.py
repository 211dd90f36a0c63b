# SPDX-License-Identifier: GPL-3.0-or-later
"""A later version that lacks a hotfix is refused, on real repositories: however it came there, and however it went."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.git.host.git import Git, GitFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import git_hotfixes, ledger
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import source as hotfix_source
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host.given_files import given_files
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.lost_hotfixes import (
    HAS,
    LACKS,
    UNSURE,
    Applied,
    applied,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from ansible_collections.evenkeel.deploy.plugins.module_utils.status import text as status_text
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.findings import Seen
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host import store as status_store
from tests.unit.app_on_a_server import App, commit, git, refusal
from tests.unit.restored_folder import Restored

TEXT = "".join(f"line {n}\n" for n in range(30))
FIXED = TEXT.replace("line 10\n", "line ten\n")


class Fixed(App):
    """An app whose running release has a hotfix that only this server knows."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.base = commit(self.source, code=TEXT, other="1")
        self("active", release=self.built())
        self.git = Git(str(self.root / "mirror.git"))
        self.fix = git_hotfixes.commit_files(self.git, self.base, {"code": FIXED.encode()}, "Hotfix a")
        self.hotfix = Applied("a", self.base, self.fix)
        self.serve(self.fix, [self.hotfix])

    def serve(self, revision: str, hotfixes: list[Applied]) -> None:
        store, state = Store(str(self.root)), str(self.root / ".evenkeel")
        made = store.create(
            lambda target: self.git.export(revision, target), revision, "hotfix/a", [".env"],
            store.inputs_of(state, [".env"], {}), [vars(h) for h in hotfixes],
        )  # fmt: skip
        for h in hotfixes:
            self.git.inside("update-ref", f"{git_hotfixes.REFS}{h.name}", h.commit)
            ledger.write(state, h.name, vars(h), git_hotfixes.patch_between(self.git, h.base, h.commit))
        self("built", release=made)
        self("active", release=made)

    def has_it(self, revision: str) -> str:
        return git_hotfixes.verdict_on(self.git, self.hotfix, revision)


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Restored[Fixed]:
    return Restored(tmp_path_factory.mktemp("app"), Fixed)


@pytest.fixture
def app(apps: Restored[Fixed]) -> Fixed:
    return apps()


def fetch_fix(app: Fixed) -> None:
    git(app.source, "fetch", "--quiet", str(app.root / "mirror.git"), f"{git_hotfixes.REFS}a")


def test_the_id_tells_what_it_is_on(app: Fixed) -> None:
    assert app.names()[-1].endswith(f"-{app.base[:7]}.h1")


def test_a_version_that_lacks_it_is_refused_with_what_it_was_and_by_name_it_may_go(app: Fixed) -> None:
    commit(app.source, more="1")
    said = refusal(app)
    assert (
        "lacks the hotfix a" in said
        and "+line ten" in said
        and "hotfix/a" in said
        and "update_allow_lost_hotfixes" in said
    )
    assert len(app.names()) == 2
    said = refusal(app, drop_hotfixes=["b"])
    assert "lacks the hotfix a" in said and "no hotfix that is in production here is called b; there are: a" in said
    # Too short to mean a commit.
    assert "lacks the hotfix a" in refusal(app, drop_hotfixes=[app.fix[:6]])
    assert "notes" not in app(check=True, drop_hotfixes=[app.fix[:7]])
    # On another host of the play b may be one.
    landed = app(drop_hotfixes=[app.fix, "b"])
    assert landed["changed"] and "is called b; there are: a" in landed["notes"][0]
    assert ledger.read(str(app.root / ".evenkeel"), "a")["dropped_for"] == ["main"]


def test_in_check_mode_it_is_refused_as_well(app: Fixed) -> None:
    assert "lacks the hotfix a" in refusal(app, check=True)


@pytest.mark.parametrize("old_git", [False, True])
@pytest.mark.parametrize("how", ["merged", "squashed", "picked", "typed", "moved on"])
def test_however_it_came_there(app: Fixed, how: str, old_git: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if old_git:
        monkeypatch.setattr(Git, "version", lambda _git: (2, 34))
    fetch_fix(app)
    commit(app.source, more="1", code=TEXT + "end\n")
    if how == "merged":
        git(app.source, "merge", "--quiet", "--no-edit", "FETCH_HEAD")
    elif how == "squashed":
        git(app.source, "merge", "--quiet", "--squash", "FETCH_HEAD")
        commit(app.source)
    elif how == "picked":
        git(app.source, "cherry-pick", "FETCH_HEAD")
    else:
        commit(app.source, code=FIXED + "end\n")
    if how == "moved on":
        commit(app.source, code=f"begin\n{FIXED}end\n", more="2")
    assert app()["changed"]


@pytest.mark.parametrize("old_git", [False, True])
def test_merged_and_reverted_is_lacking(app: Fixed, old_git: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if old_git:
        monkeypatch.setattr(Git, "version", lambda _git: (2, 34))
    fetch_fix(app)
    git(app.source, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
    git(app.source, "revert", "--no-edit", "HEAD")
    assert "lacks the hotfix a" in refusal(app)


@pytest.mark.parametrize("old_git", [False, True])
def test_other_lines_there_cannot_be_told(app: Fixed, old_git: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if old_git:
        monkeypatch.setattr(Git, "version", lambda _git: (2, 34))
    commit(app.source, code=TEXT.replace("line 10\n", "line X\n"))
    said = refusal(app)
    assert "cannot be told" in said and "+line ten" in said


def test_an_update_that_had_it_asks_no_more_and_going_back_neither(app: Fixed) -> None:
    fetch_fix(app)
    commit(app.source, more="1")
    git(app.source, "cherry-pick", "FETCH_HEAD")
    landed = app.built()
    app("active", release=landed)
    git(app.source, "revert", "--no-edit", "HEAD")
    # It is the team's own decision now, in a version that it knows.
    assert app()["changed"]


def test_two_that_change_the_same_lines_are_there_together(app: Fixed) -> None:
    second = git_hotfixes.commit_files(app.git, app.fix, {"code": FIXED.replace("ten", "TEN").encode()}, "Hotfix b")
    both = [app.hotfix, Applied("b", app.fix, second)]
    app.serve(second, both)
    assert app.names()[-1].endswith(".h2")
    fetch_fix(app)
    assert {h.name for h, _v in git_hotfixes.lacking(app.git, both, app.base)} == {"a", "b"}
    assert git_hotfixes.lacking(app.git, both, second) == []
    assert [(h.name, v) for h, v in git_hotfixes.lacking(app.git, both, app.fix)] == [("b", LACKS)]


def test_verdicts_and_a_mirror_that_has_forgotten_it(app: Fixed) -> None:
    assert (app.has_it(app.base), app.has_it(app.fix)) == (LACKS, HAS)
    gone = Applied("a", app.base, "1" * 40)
    assert git_hotfixes.verdict_on(app.git, gone, app.base) == UNSURE
    assert applied([vars(app.hotfix), {"name": "torn"}, None, "x"]) == (app.hotfix,)
    assert applied({"a": 1}) == ()


def test_built_files_are_lost_by_the_next_build_and_only_by_that(app: Fixed) -> None:
    state = str(app.root / ".evenkeel")
    about = {"base": app.base, "live": {"built": True}, "sums": {"assets/app-1.js": {}}, "reverted": ""}
    ledger.write(state, "front", about, "")
    ledger.write(state, "upload", {**about, "live": {"built": False}}, "")
    ledger.write(state, "back", {**about, "reverted": "2026"}, "")
    ledger.write(state, "before", {**about, "base": app.first}, "")
    fetch_fix(app)
    git(app.source, "update-ref", "refs/heads/runs", "FETCH_HEAD")
    # What runs has it, and no job runs again.
    assert app(version="runs")["changed"] is False
    commit(app.source, more="1")
    git(app.source, "cherry-pick", "FETCH_HEAD")
    for check in (False, True):
        said = refusal(app, check=check)
        assert "over the hotfix front of built files" in said and "assets/app-1.js" in said and '["front"]' in said
    said = refusal(app, drop_hotfixes=["upload"])
    assert "over the hotfix front" in said and "called upload; there are: a, front" in said
    landed = str(app(drop_hotfixes=["front"])["release"])
    told = status_store.hotfixes_of(Store(str(app.root)), state)
    assert [(h["name"], h["files"]) for h in told] == [
        ("a", []),
        ("front", ["assets/app-1.js"]),
        ("upload", ["assets/app-1.js"]),
    ]
    (line,) = [line for line in status_text.text(Seen("shop", hotfixes=told)) if line.startswith("hotfixes ")]
    assert line.split(maxsplit=1)[1].startswith(f"a ({app.fix[:12]}), ")
    # Where that update fails the files are still there, and it is asked again.
    assert "of built files" in refusal(app)
    app("built", release=landed)
    app("active", release=landed)
    commit(app.source, more="2")
    assert app()["changed"] and ledger.read(state, "front")["dropped_for"] == ["main"]


# -- how it becomes a commit ------------------------------------------------------------------------------


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def params(**more: Any) -> dict[str, Any]:
    return {"shared": [".env"], **more}


def source_of(given: dict[str, Any]) -> hotfix_source.Source:
    options, files = hotfix_source.source_options(given), given_files(given)
    return hotfix_source.source_of(options, files, str(given.get("name") or ""))


def of_files(**files: str) -> dict[str, Any]:
    return params(files=[{"path": p, "content": b64(t)} for p, t in files.items()])


def test_the_same_files_are_the_same_commit_and_none_where_they_are_there(app: Fixed) -> None:
    source = source_of(of_files(code="x\n"))
    assert source.name.startswith("fix-") and source == source_of(of_files(code="x\n"))
    one, two = (hotfix_source.commit_of(app.git, "-", app.base, source, "", True) for _n in range(2))
    assert one == two != app.base
    assert hotfix_source.commit_of(app.git, "-", one, source, "", True) == one
    (change,) = hotfix_source.looked_at(app.git, app.base, one, source, [])
    assert (change.path, change.status, change.added, change.removed) == ("code", "M", 1, 30)


PATCH = "--- a/code\n+++ b/code\n@@ -10,3 +10,3 @@\n line 9\n-line 10\n+line zehn\n line 11\n"


def test_a_patch_applies_once(app: Fixed) -> None:
    source = source_of(params(patch=b64(PATCH)))
    made = hotfix_source.commit_of(app.git, "-", app.base, source, "", True)
    assert made != app.base and hotfix_source.commit_of(app.git, "-", made, source, "", True) == made
    with pytest.raises(BadInput, match="does not apply to the running revision"):
        hotfix_source.commit_of(app.git, "-", app.first, source, "", True)


HOSTILE = [
    "--- a/../x\n+++ b/../x\n@@ -0,0 +1 @@\n+x\n",
    "--- /dev/null\n+++ b//etc/cron.d/x\n@@ -0,0 +1 @@\n+x\n",
    "diff --git a/.git/hooks/x b/.git/hooks/x\nnew file mode 100755\n--- /dev/null\n+++ b/.git/hooks/x\n@@ -0,0 +1 @@\n+x\n",
    (
        "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n\\ No newline at end of file\n"
        "diff --git a/l/x b/l/x\nnew file mode 100644\n--- /dev/null\n+++ b/l/x\n@@ -0,0 +1 @@\n+x\n"
    ),
    PATCH.replace("code", "absent"),
    PATCH.replace("\n", "\r\n"),
    PATCH[:-20],
]


@pytest.mark.parametrize("patch", HOSTILE)
def test_patches_that_lead_elsewhere_or_do_not_apply(app: Fixed, patch: str) -> None:
    with pytest.raises(BadInput):
        source = source_of(params(patch=b64(patch)))
        made = hotfix_source.commit_of(app.git, "-", app.base, source, "", True)
        hotfix_source.looked_at(app.git, app.base, made, source, [".env"])


@pytest.mark.parametrize(
    "given",
    [params(), {**of_files(a="x"), "ref": "b"}, of_files(**{"../a": "x"}), of_files(**{".env": "x"}), of_files(a="x\0y"),
     params(files=[{"path": "a", "content": "%"}]), params(files=[{"path": "a", "content": None}]), params(ref="--x"),
     params(files=[{"path": "a", "content": ""}] * 2), params(ref="x", name="../../y"), params(patch=b64("nothing"))],
)  # fmt: skip
def test_what_cannot_be_one(given: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        source_of(given)


def test_a_link_or_a_folder_is_not_written_over(app: Fixed) -> None:
    (app.source / "link").symlink_to("/etc")
    base = commit(app.source, version="9")
    app.git.update(str(app.source))
    for path in ("link", "link/x"):
        source = source_of(of_files(**{path: "x"}))
        with pytest.raises(BadInput):
            made = hotfix_source.commit_of(app.git, "-", base, source, "", True)
            hotfix_source.looked_at(app.git, base, made, source, [])


def test_a_branch_has_to_begin_at_what_runs(app: Fixed) -> None:
    git(app.source, "switch", "--quiet", "--create", "hotfix/16.03", app.base)
    wanted = commit(app.source, code=FIXED)
    source = source_of(params(ref="hotfix/16.03"))
    assert source.name == "16.03"
    assert hotfix_source.commit_of(app.git, str(app.source), app.base, source, "", True) == wanted
    # What runs, or is a part of it, is there.
    assert hotfix_source.commit_of(app.git, str(app.source), wanted, source, "", True) == wanted
    git(app.source, "switch", "--quiet", "main")
    later = commit(app.source, more="1")
    app.git.update(str(app.source))
    with pytest.raises(BadInput) as caught:
        hotfix_source.commit_of(app.git, str(app.source), later, source, "", True)
    assert "more than the hotfix would come along" in str(caught.value) and later[:10] in str(caught.value)


def test_trying_writes_nothing(app: Fixed, tmp_path: Path) -> None:
    def objects() -> set[str]:
        return {str(p) for p in (app.root / "mirror.git").rglob("*")}

    git(app.source, "switch", "--quiet", "--create", "hotfix/1", app.base)
    wanted = commit(app.source, code=FIXED)
    before = objects()
    with git_hotfixes.private_to(app.git) as folder:
        tried = git_hotfixes.TriedGit(app.git, folder)
        for given in (of_files(code="new\n"), params(patch=b64(PATCH)), params(ref="hotfix/1")):
            source = source_of(given)
            made = hotfix_source.commit_of(tried, str(app.source), app.base, source, "", False)
            assert hotfix_source.looked_at(tried, app.base, made, source, [])
        assert made == wanted
    assert objects() == before
    with pytest.raises(GitFailed):
        app.git.inside("cat-file", "-e", wanted)


def test_a_link_of_git_s_user_in_its_scratch_folder_is_not_written_through(
    app: Fixed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "shadow"
    victim.write_text("root's own")
    inside = Git.inside

    def planted(self: Git, *words: str, extra: Any = ()) -> str:
        if words[0] == "read-tree":
            # Where the content of the first file will be written.
            os.symlink(victim, os.path.join(os.path.dirname(dict(extra)["GIT_INDEX_FILE"]), "0"))
        return inside(self, *words, extra=extra)

    monkeypatch.setattr(Git, "inside", planted)
    assert git_hotfixes.commit_files(app.git, app.base, {"code": FIXED.encode()}, "Hotfix a") == app.fix
    assert victim.read_text() == "root's own"
