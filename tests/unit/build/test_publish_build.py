# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing what was built, in a process of its own as in a container: order, ways back, kills, and what goes when."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.build import asset_names, built_site
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.inside import publish, publish_checked, published
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.inside.publish import rank_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.app_script import answer_in, as_text
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.path_content import starting
from tests.unit.script_processes import ScriptProcesses, killed_at_move

ONE, TWO, THREE = (f"20261120T00000{n}Z-{str(n) * 7}" for n in (1, 2, 3))


class Site:
    """A folder that a web server serves, and builds for it."""

    def __init__(self, folder: Path, processes: ScriptProcesses) -> None:
        self.processes = processes
        self.live, self.builds = folder / "live", folder / "builds"
        self.live.mkdir(parents=True)
        (self.builds / "0").mkdir(parents=True)
        self.order: list[str] = []
        self.modules: list[Any] = [published, publish]
        self.more: list[Any] = []
        self.starts: list[float] | None = []

    def be_careful(self) -> None:
        """From now on a small change only."""
        self.modules, self.more = [published, publish, asset_names, built_site, publish_checked], ["", True]

    def build(self, **files: str) -> None:
        """Make these the files of the build; ``assets__a_js`` is ``assets/a.js``."""
        for path in sorted(self.builds.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for name, text in files.items():
            path = self.builds / "0" / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run(
        self, state: str, release: str, everything: bool = True, living: tuple[str, ...] = (), kill_at: int = 0
    ) -> subprocess.CompletedProcess[str]:
        arguments = [
            state,
            str(self.live),
            str(self.builds),
            release,
            "run",
            everything,
            list(living),
            self.starts if self.starts is None else [starting(s) for s in self.starts],
            *self.more,
        ]
        script = as_text(self.modules, arguments)
        done = self.processes.run(f"{killed_at_move(kill_at, told=True)}\n{script}")
        self.order = [
            line[len(str(self.live)) + 1 :] for line in done.stderr.splitlines() if line.startswith(str(self.live))
        ]
        return done

    def __call__(
        self, state: str, release: str, everything: bool = True, living: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        done = self.run(state, release, everything, living)
        answer = answer_in(done.stdout)
        assert answer is not None, done.stderr
        return dict(answer)

    @property
    def served(self) -> dict[str, str]:
        found = [p for p in self.live.rglob("*") if p.is_file() and ".evenkeel" not in p.parts]
        return {str(p.relative_to(self.live)): p.read_text() for p in found}

    def leftovers(self) -> list[str]:
        names = [str(p.relative_to(self.live)) for p in self.live.rglob("*")]
        return [n for n in names if n.endswith(("unfinished", "incoming", ".part"))]


@pytest.fixture
def site(tmp_path: Path, script_processes: ScriptProcesses) -> Site:
    """A site whose first build is published."""
    made = Site(tmp_path, script_processes)
    made.build(index_html="one", assets__a1_js="a1", assets__b1_js="b1", robots_txt="all")
    assert made("published", ONE)["files"] == 4
    return made


def second(site: Site) -> None:
    site.build(index_html="two", assets__a2_js="a2", assets__b1_js="b1", robots_txt="none", about_html="us", sw_js="s")


def test_the_first_publication(site: Site) -> None:
    assert site.served == {"index.html": "one", "assets/a1.js": "a1", "assets/b1.js": "b1", "robots.txt": "all"}
    assert (site.live / ".evenkeel").stat().st_mode & 0o777 == 0o700
    assert site.order[-1] == "index.html" and site.leftovers() == []


def test_the_same_again_changes_nothing(site: Site) -> None:
    before = {str(p): p.stat().st_mtime_ns for p in site.live.rglob("*")}
    assert site("published", ONE)["changed"] is False
    assert site("offered", ONE, everything=False)["changed"] is False
    assert {str(p): p.stat().st_mtime_ns for p in site.live.rglob("*")} == before


def test_what_pages_name_comes_first_and_the_page_last(site: Site) -> None:
    second(site)
    result = site("published", TWO)
    assert site.order == ["assets/a2.js", "robots.txt", "about.html", "index.html", "sw.js"]
    assert (result["files"], result["replaced"], result["unhashed"]) == (5, 2, ["robots.txt"])
    assert site.served["assets/a1.js"] == "a1", "for pages that were loaded before"


def test_what_is_offered_replaces_nothing(site: Site) -> None:
    before = site.served
    second(site)
    assert site("offered", TWO, everything=False)["files"] == 1
    assert site.served == {**before, "assets/a2.js": "a2"}
    assert site("published", TWO)["replaced"] == 2
    assert site("restored", TWO)["files"] == 2
    assert {n: t for n, t in site.served.items() if n in before} == before


def test_what_was_only_offered_is_taken_back_by_leaving_it(site: Site) -> None:
    before = site.served
    second(site)
    site("offered", TWO, everything=False)
    site("restored", TWO)
    assert (site.served, site.leftovers()) == ({**before, "assets/a2.js": "a2"}, [])
    assert site("published", ONE)["changed"] is False, "it never ceased to be what is served"


def test_only_the_last_publication_is_taken_back(site: Site) -> None:
    second(site)
    site("published", TWO)
    after = site.served
    assert site("restored", ONE)["changed"] is False
    assert site.served == after
    assert site("restored", TWO)["changed"] is True
    assert site("restored", TWO)["changed"] is False
    assert site("published", TWO)["changed"] is True, "what was taken back is not taken for published"


def test_a_compressed_twin_never_outlives_its_page(site: Site) -> None:
    site.build(index_html="two", index_html_gz="packed two")
    site("published", TWO)
    site.build(index_html="three")
    site("published", THREE)
    assert site.served["index.html"] == "three" and "index.html.gz" not in site.served
    site("restored", THREE)
    assert (site.served["index.html"], site.served["index.html.gz"]) == ("two", "packed two")


def test_a_compressed_twin_of_a_page_that_is_taken_back_goes(site: Site) -> None:
    site.build(index_html="two", index_html_gz="packed two", assets__a2_js="2", assets__a2_js_gz="packed 2")
    site("offered", TWO, everything=False)
    assert {"assets/a2.js", "assets/a2.js.gz"} <= set(site.served) and "index.html.gz" not in site.served
    site("published", TWO)
    site("restored", TWO)
    assert site.served["index.html"] == "one" and "index.html.gz" not in site.served
    assert {"assets/a2.js", "assets/a2.js.gz"} <= set(site.served)


def test_killed_at_any_file_it_converges_and_can_still_be_taken_back(
    tmp_path: Path, script_processes: ScriptProcesses
) -> None:
    for kill_at in range(1, 40):
        site = Site(tmp_path / str(kill_at), script_processes)
        site.build(index_html="one", assets__a1_js="a1", robots_txt="all", index_html_gz="packed")
        site("published", ONE)
        before = site.served
        second(site)
        done = site.run("published", TWO, kill_at=kill_at)
        assert site.served["index.html"] in ("one", "two")
        if site.served["index.html"] == "two":
            assert site.served["assets/a2.js"] == "a2" and "index.html.gz" not in site.served
        if done.returncode == 0:
            break
        assert done.returncode == 137
        site("published", TWO)
        assert site.served["index.html"] == "two" and site.leftovers() == []
        site("restored", TWO)
        assert {n: t for n, t in site.served.items() if n in before} == before
    assert kill_at > 8


def test_files_go_with_the_last_release_that_had_them(site: Site) -> None:
    (site.live / "by-hand.txt").write_text("mine")
    second(site)
    site("published", TWO, living=(ONE,))
    site.build(index_html="three", deep__er__a3_js="a3")
    assert site("published", THREE, living=(TWO,))["removed"] == 1
    # a1.js and robots.txt were of ONE; TWO has b1.js and robots.txt too, and is there to be gone back to.
    assert set(site.served) == {
        "index.html", "deep/er/a3.js", "assets/a2.js", "assets/b1.js", "robots.txt", "about.html", "sw.js", "by-hand.txt",
    }  # fmt: skip
    site.build(index_html="one", assets__a1_js="a1")
    site("published", ONE, living=(ONE,))
    assert set(site.served) == {"index.html", "assets/a1.js", "by-hand.txt"}
    assert not (site.live / "deep").exists()


def test_nothing_goes_where_nobody_knows_which_releases_there_are(site: Site) -> None:
    second(site)
    assert site("published", TWO)["removed"] == 0
    assert site.served["assets/a1.js"] == "a1"


def test_a_list_cannot_lead_out_of_the_folder(site: Site, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    folder = site.live / ".evenkeel/lists/build"
    names = ["../outside", str(tmp_path / "outside"), ".evenkeel/build/own.json", "assets"]
    (folder / f"{THREE}.json").write_text(json.dumps(names))
    second(site)
    site("published", TWO, living=(ONE,))
    assert (tmp_path / "outside").exists() and (site.live / "assets").is_dir()
    assert (site.live / ".evenkeel/build/own.json").exists()


def test_permissions_and_links_are_kept(site: Site) -> None:
    site.build(index_html="two", tool_sh="x")
    (site.builds / "0/tool.sh").chmod(0o750)
    (site.builds / "0/latest").symlink_to("assets")
    site("published", TWO)
    assert (site.live / "tool.sh").stat().st_mode & 0o777 == 0o750
    assert os.readlink(site.live / "latest") == "assets"
    assert site("published", THREE)["changed"] is False


def test_what_is_published_is_of_now_for_browsers(site: Site) -> None:
    # The same size, and the time that image layers give to all their files.
    site.build(index_html="two")
    os.utime(site.builds / "0/index.html", (0, 0))
    site("published", TWO)
    assert (site.live / "index.html").stat().st_mtime > 1e9


@pytest.mark.parametrize(
    ("files", "said"),
    [({}, "empty"), ({"index_html": "x", "assets": "a file now"}, "assets is a folder")],
)
def test_what_cannot_be_published_touches_nothing(site: Site, files: dict[str, str], said: str) -> None:
    before = site.served
    site.build(**files)
    (site.builds / "0").mkdir(exist_ok=True)
    assert said in site("published", TWO)["error"]
    assert site.served == before


def test_two_jobs_that_build_one_file_are_told(site: Site) -> None:
    second(site)
    (site.builds / "1").mkdir()
    (site.builds / "1/index.html").write_text("mine")
    assert "two jobs build index.html" in site("published", TWO)["error"]


@pytest.mark.parametrize(
    ("rank", "name"),
    [
        (0, "assets/app-3f2c1ab.js"),
        (0, "assets/app-3f2c1ab.js.gz"),
        (0, "assets/index-3f2c1ab.js"),
        (0, "favicon.ico"),
        (1, "asset-manifest.json"),
        (1, ".vite/manifest.json"),
        (1, "site.webmanifest"),
        (2, "about.html.br"),
        (3, "index.html"),
        (3, "de/index.html.gz"),
        (4, "service-worker.js"),
    ],
)
def test_whose_turn_it_is(rank: int, name: str) -> None:
    assert rank_of(name) == rank


# -- only if it is whole --------------------------------------------------------------------------------


@pytest.fixture
def careful(site: Site) -> Site:
    """The same site, where only a small change of it is published."""
    site.build(index_html='<script src="assets/a1.js">', assets__a1_js="a1" * 100, robots_txt="all")
    site("published", TWO)
    site.be_careful()
    return site


def test_a_small_change_is_published_in_two_turns_and_a_second_time_changes_nothing(careful: Site) -> None:
    careful.build(index_html='<script src="assets/a3.js">', assets__a3_js="a3" * 100, robots_txt="all")
    assert careful("offered", THREE, everything=False)["files"] == 1
    assert careful("published", THREE)["files"] == 1 and careful.order == ["index.html"]
    assert careful("published", THREE)["changed"] is False
    assert careful("restored", THREE)["files"] == 1 and "a1.js" in careful.served["index.html"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "the build is empty"),
        ({"assets__a1_js": "a1" * 100, "robots_txt": "all"}, "index.html: was in the build before"),
        ({"index_html": "", "assets__a1_js": "a1" * 100, "robots_txt": "none"}, "index.html: is empty"),
        ({"index_html": '<script src="assets/a9.js">', "assets__a1_js": "a1" * 100}, "names assets/a9.js"),
        ({"index_html": "<p>", "assets__a1_js": "a"}, "less than half"),
        ({"index_html": '<script src="assets/a1.js">', "assets__a1_js": "a1" * 100, "robots_txt": "all"}, "nothing of it"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("state", ["offered", "published"])
def test_what_is_no_small_change_touches_nothing(careful: Site, files: dict[str, str], said: str, state: str) -> None:
    before = {p: p.read_bytes() for p in careful.live.rglob("*") if p.is_file()}
    careful.build(**files)
    (careful.builds / "0").mkdir(exist_ok=True)
    assert said in " ".join(careful(state, THREE, everything=state == "published")["refused"])
    assert {p: p.read_bytes() for p in careful.live.rglob("*") if p.is_file()} == before


def test_the_same_again_is_let_through_where_nobody_knows_what_it_is_built_from(careful: Site) -> None:
    careful.more = ["", False]
    assert careful("published", THREE)["files"] == 0 and careful("published", THREE)["changed"] is False


def test_killed_at_any_file_what_was_whole_still_is(tmp_path: Path, script_processes: ScriptProcesses) -> None:
    for kill_at in range(1, 40):
        site = Site(tmp_path / str(kill_at), script_processes)
        site.build(index_html='<script src="assets/a1.js">', assets__a1_js="a1", robots_txt="all")
        site("published", ONE)
        site.be_careful()
        site.build(index_html='<script src="assets/a2.js">', assets__a2_js="a2", robots_txt="none")
        done = site.run("published", TWO, kill_at=kill_at)
        if done.returncode == 0:
            break
        assert done.returncode == 137 and "refused" not in site("published", TWO)
        assert "a2.js" in site.served["index.html"] and site.leftovers() == []
    assert kill_at > 5


def test_what_somebody_changed_by_hand_stops_what_would_replace_it(site: Site) -> None:
    (site.live / "robots.txt").write_text("mine")
    (site.live / "assets/a1.js").write_text("patched")
    second(site)
    before = site.served
    for everything in (False, True):
        assert site("published", TWO, everything)["edited"] == ["robots.txt"]
    assert site.served == before and site.leftovers() == []
    # What an entrypoint writes when its container starts is nobody's work.
    site.starts = [(site.live / "robots.txt").stat().st_mtime - 3]
    assert site("published", TWO)["files"] == 5 and site.served["robots.txt"] == "none"
    # Nobody else names the old asset, so it is what it was made.
    assert site.served["assets/a1.js"] == "patched"
    assert site("restored", TWO)["changed"] and site.served["robots.txt"] == "mine"


def test_a_change_by_hand_that_the_build_has_too_or_that_may_go_stops_nothing(site: Site) -> None:
    (site.live / "robots.txt").write_text("none")
    (site.live / "robots.txt").chmod(0o600)
    (site.live / "index.html").write_text("mine")
    second(site)
    assert site("published", TWO)["edited"] == ["index.html"]
    site.starts = None
    assert site("published", TWO)["changed"] and site.served["index.html"] == "two"
    site.starts = []
    (site.live / "index.html").write_text("again")
    assert site("restored", TWO)["changed"] and site.served["index.html"] == "mine"


def test_what_somebody_else_has_built_is_kept_before_the_first_file_is_replaced(
    tmp_path: Path, script_processes: ScriptProcesses
) -> None:
    for kill_at in range(1, 40):
        site = Site(tmp_path / str(kill_at), script_processes)
        kept = tmp_path / str(kill_at) / "kept"
        found = {"index.html": "by hand", "assets/a0.js": "a0"}
        for name, text in found.items():
            (site.live / name).parent.mkdir(exist_ok=True)
            (site.live / name).write_text(text)
        (site.live / "assets").chmod(0o750)
        (kept / "assets").mkdir(parents=True)
        (kept / "assets/half").write_text("of a killed run")
        site.more = [str(kept)]
        site.build(index_html="one", assets__a1_js="a1")
        done = site.run("offered", ONE, everything=False, kill_at=kill_at)
        assert site("offered", ONE, everything=False)["kept"] is True
        site.run("published", ONE, kill_at=kill_at)
        assert site("published", ONE)["kept"] is True and site.served["index.html"] == "one"
        assert {str(p.relative_to(kept)): p.read_text() for p in kept.rglob("*") if p.is_file()} == found
        assert (kept / "assets").stat().st_mode & 0o777 == 0o750
        if done.returncode == 0:
            break
    site.builds = kept.parent / "as found"
    site.builds.mkdir()
    (site.builds / "0").symlink_to(kept)
    site.more = []
    site("published", TWO)
    assert site.served == {**found, "assets/a1.js": "a1"}


def test_nothing_is_kept_where_a_build_of_ours_is_shown_already(site: Site, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    site.more = [str(tmp_path / "kept")]
    second(site)
    assert site("published", TWO)["kept"] is False
