# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of hotfix changed files are, what is none, and what hostile paths, contents and patches are refused for."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.git.changes import Change
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix import hotfix
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.hotfix import (
    FRONTEND,
    IMAGE,
    LIVE,
    MOUNT,
    NGINX,
    STATIC,
    VOLUME,
    Home,
    Limits,
    Refusal,
    Verdict,
    folder_of_new,
    judge,
    neighbours,
    options_of_roll,
    places_in_image,
    problem_with_content,
    problem_with_name,
    problem_with_patch,
    problem_with_path,
    static_alone,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.choice import BACKEND

VIEW = "tours/views.py"
API = Home(IMAGE, "api", "web", "/app/tours/views.py")
WORKER = Home(IMAGE, "celery", "worker", "/app/tours/views.py")


def of(*changes: Change, homes: dict[str, list[Home]] | None = None, **more: object) -> Verdict:
    known = {c.path: [API, WORKER] for c in changes} if homes is None else homes
    return judge(changes, known, **more)  # type: ignore[arg-type]


def keys(verdict: Verdict) -> list[str]:
    return [r.key for r in verdict.refusals]


def test_code_in_an_image_is_backend_for_every_service_on_it() -> None:
    verdict = of(Change(VIEW, added=1, removed=1))
    assert verdict.kinds == {BACKEND: (VIEW,)} and verdict.services == ("api", "celery") and not verdict.refusals


def test_several_kinds_in_one_go() -> None:
    css, conf, code = "tours/static/tours/site.css", "deploy/nginx.conf", "shop/urls.py"
    homes = {
        css: [API],
        conf: [Home(LIVE, "nginx", "proxy", "/etc/nginx/conf.d/default.conf")],
        code: [Home(MOUNT, "celery", "worker", "/code/shop/urls.py")],
    }
    verdict = of(*(Change(p) for p in homes), homes=homes)
    assert verdict.kinds == {STATIC: (css,), NGINX: (conf,), BACKEND: (code,)}
    assert verdict.services == ("api", "celery") and not verdict.refusals


CSS, LOGO = "tours/static/tours/site.css", "tours/static/tours/logo.png"


def test_static_files_alone_replace_the_web_and_with_code_everybody() -> None:
    verdict = of(Change(CSS), collector="api")
    assert verdict.services == ("api",) and verdict.spared == ("celery",)
    assert "serve no static files: celery" in " ".join(verdict.notes)
    both = of(Change(CSS), Change(VIEW), collector="api")
    assert (both.services, both.spared) == (("api", "celery"), ())


def test_python_below_a_folder_called_static_is_code_as_well() -> None:
    verdict = of(Change("static/views.py"), collector="api")
    assert set(verdict.kinds) == {STATIC, BACKEND} and verdict.services == ("api", "celery")
    assert not static_alone(verdict.kinds) and static_alone([STATIC]) and not static_alone([STATIC, "env"])


SHORT = {"prove_seconds": 1.0, "monitor": 1.0}


@pytest.mark.parametrize(
    ("kinds", "definition", "own", "expected"),
    [
        ([STATIC], {}, {}, SHORT),
        ([STATIC], {}, {"kind": "web", "monitor": None}, {**SHORT, "kind": "web"}),
        ([STATIC], {}, {"prove_seconds": 30}, {"prove_seconds": 30, "monitor": 1.0}),
        ([STATIC], {}, {"monitor": 0}, {"prove_seconds": 1.0, "monitor": 0}),
        ([STATIC], {"x-evenkeel": {"prove_seconds": "20s"}}, {}, {"monitor": 1.0}),
        ([STATIC], {"deploy": {"update_config": {"monitor": "30s", "order": "start-first"}}}, {}, {"prove_seconds": 1.0}),
        ([STATIC], {"deploy": None, "x-evenkeel": None}, {}, SHORT),
        ([STATIC, NGINX], {}, {"kind": "web"}, {"kind": "web"}),
        ([BACKEND], {}, {"kind": "web"}, {"kind": "web"}),
    ],
)  # fmt: skip
def test_code_that_serves_already_is_proven_shortly_where_nobody_says_how_long(
    kinds: list[str], definition: dict[str, object], own: dict[str, object], expected: dict[str, object]
) -> None:
    given = {"api": own, "celery": {"drain_timeout": 5}}
    assert options_of_roll(kinds, ["api"], {"api": definition}, given) == {**given, "api": expected}
    assert given["api"] is own


@pytest.mark.parametrize(
    "homes",
    [
        [WORKER],
        [API, Home(MOUNT, "celery", "worker", "/code/site.css")],
        [API, Home(IMAGE, "celery", "web", "/app/site.css")],
    ],
)
def test_whose_definition_changes_or_who_may_serve_them_is_replaced(homes: list[Home]) -> None:
    verdict = of(Change(CSS), homes={CSS: homes})
    assert "celery" in verdict.services and verdict.spared == ()
    assert "celery" in of(Change(CSS), collector="celery").services


def test_a_picture_is_taken_where_nothing_runs_it() -> None:
    picture = Change(LOGO, added=-1, removed=-1)
    assert of(picture).kinds == {STATIC: (LOGO,)} and not of(picture).refusals
    source = "frontend/src/logo.png"
    built = of(Change(source, added=-1, removed=-1), homes={source: [BUILDER]}, sources={source: ["builder"]})
    assert built.kinds == {FRONTEND: (source,)} and not built.refusals
    assert keys(of(Change("tours/static/tours/core.wasm", added=-1, removed=-1))) == ["binary"]
    assert problem_with_content(LOGO, None, b"\x89PNG\r\n\x1a\n\0") == ""
    assert "KiB" in problem_with_content(LOGO, None, b"\0" * 2048, largest=1024)
    # Read as text it has another length.
    assert problem_with_content(LOGO, None, b"\0" * 2048, largest=1024, size=1024) == ""


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (Change("tours/migrations/0003_x.py", "A", before="000000"), "migration"),
        (Change("requirements.txt"), "dependencies"),
        (Change("requirements/prod.txt"), "dependencies"),
        (Change("backend/poetry.lock"), "dependencies"),
        (Change("frontend/package.json"), "dependencies"),
        (Change("frontend/package-lock.json"), "dependencies"),
        (Change("frontend/npm-shrinkwrap.json"), "dependencies"),
        (Change("frontend/pnpm-lock.yaml"), "dependencies"),
        (Change("frontend/bun.lockb"), "dependencies"),
        (Change("frontend/.npmrc"), "dependencies"),
        (Change("frontend/Dockerfile"), "build"),
        (Change("Dockerfile"), "build"),
        (Change("docker/Dockerfile.prod"), "build"),
        (Change(".dockerignore"), "build"),
        (Change(".gitattributes"), "build"),
        (Change("docker-compose.prod.yml"), "compose file"),
        (Change("compose.yaml"), "compose file"),
        (Change("deploy/stack.yml"), "compose file"),
        (Change(VIEW, "D", "000000"), "removal"),
        (Change("link", "A", "120000", "000000"), "kind of file"),
        (Change("lib", "M", "160000", "160000"), "kind of file"),
        (Change(VIEW, "T", "120000"), "kind of file"),
        (Change("tours/logo.png", added=-1, removed=-1), "binary"),
    ],
)
def test_what_is_none_is_told_with_what_to_run_instead(change: Change, key: str) -> None:
    verdict = of(change, compose_files=["deploy/stack.yml"], version="v9")
    assert key in keys(verdict)
    assert all("evenkeel.deploy.update -e update_version=v9" in r.command for r in verdict.refusals)
    assert change.path in verdict.text()


def test_a_compiled_translation_is_taken_with_its_source_alone() -> None:
    base = "locale/de/LC_MESSAGES/django"
    assert keys(of(Change(f"{base}.po"), Change(f"{base}.mo", added=-1, removed=-1))) == []
    assert keys(of(Change(f"{base}.mo", added=-1, removed=-1))) == ["binary"]
    assert problem_with_content(f"{base}.mo", None, b"\0\r\n", [f"{base}.po"]) == ""
    assert "binary" in problem_with_content(f"{base}.mo", None, b"\0", ["other.po"])


@pytest.mark.parametrize(
    ("home", "key"),
    [
        (Home(VOLUME, "api", "web", "/app/staticfiles"), "volume"),
        (Home(IMAGE, "seed", "job", "/src/app.js"), "job"),
        (Home(LIVE, "nginx", "proxy", "/usr/share/nginx/html/index.html"), "frontend"),
        (Home(IMAGE, "nginx", "proxy", "/etc/nginx/nginx.conf"), "frontend"),
        (Home(IMAGE, "db", "database", "/init.sql"), "service"),
    ],
)
def test_where_it_lives_decides(home: Home, key: str) -> None:
    assert keys(of(Change("some/file"), homes={"some/file": [home]})) == [key]


SOURCE = "frontend/src/App.vue"
BUILDER = Home(IMAGE, "builder", "job", "/app/src/App.vue")


def test_what_a_job_builds_from_replaces_nobody_and_says_what_is_small() -> None:
    verdict = of(Change(SOURCE, added=2, removed=1), homes={SOURCE: [BUILDER]}, sources={SOURCE: ["builder"]})
    assert verdict.kinds == {FRONTEND: (SOURCE,)} and verdict.jobs == ("builder",) and verdict.services == ()
    assert (
        not verdict.refusals
        and "1 changed files and 3 lines; up to 20 files and up to 400 lines (hotfix_limits)" in verdict.notes[0]
    )
    both = of(
        Change(SOURCE), Change(VIEW), homes={SOURCE: [BUILDER], VIEW: [API, WORKER]}, sources={SOURCE: ["builder"]}
    )
    assert both.kinds == {FRONTEND: (SOURCE,), BACKEND: (VIEW,)} and both.services == ("api", "celery")
    large = of(Change(SOURCE, added=401), homes={SOURCE: [BUILDER]}, sources={SOURCE: ["builder"]})
    assert keys(large) == ["large"] and "401 lines are changed, more than 400" in large.text()


def test_every_reason_of_a_front_end_is_told() -> None:
    lost = {SOURCE: Refusal(FRONTEND, f"{SOURCE} is built with the image", "update")}
    verdict = of(
        Change(SOURCE, added=500), Change("frontend/package.json"), Change("frontend/Dockerfile"),
        homes={}, unbuildable=lost,
    )  # fmt: skip
    assert keys(verdict) == ["build", "dependencies", FRONTEND, "large"]


def test_a_job_that_has_what_the_app_has_is_in_nobodys_way() -> None:
    migrate = Home(IMAGE, "migrate", "job", "/app/tours/views.py")
    verdict = of(Change(VIEW), homes={VIEW: [API, migrate]})
    assert verdict.kinds == {BACKEND: (VIEW,)} and verdict.services == ("api",) and verdict.jobs == ()
    assert not verdict.refusals


def test_what_no_container_has_stops_only_where_somebody_named_it() -> None:
    readme = Change("README.md")
    homes = {VIEW: [API]}
    assert keys(of(Change(VIEW), readme, homes=homes)) == ["nowhere"]
    branch = of(Change(VIEW), readme, Change("tours/tests.py"), homes=homes, named=False)
    assert not branch.refusals and "README.md, tours/tests.py" in branch.notes[0]
    assert keys(of(Change("tools/run.py"), homes={}, named=False)) == ["nowhere"]
    assert keys(of(readme, homes={}, named=False)) == ["nothing"] and keys(of()) == ["nothing"]


def test_limits_are_arguments_and_force_is_for_size_only() -> None:
    big = [Change(f"a/{n}.py", added=30) for n in range(21)]
    assert keys(of(*big)) == ["large", "large"]
    assert not of(*big, limits=Limits(0, 0, 0)).refusals and not of(*big, forced=True).refusals
    assert keys(of(Change(VIEW), chain=5, forced=True)) == ["chain"] and not of(Change(VIEW), chain=4).refusals


SHARED = [".env", "media"]


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\\b", "a\nb", "a\0b", ".git/config", "a/.GIT/hooks/x", "a/.git ",
     ".evenkeel/x", ".evenkeel-index", ".env", "media/x.jpg", "x" * 256, "/".join("abcd" for _n in range(300))],
)  # fmt: skip
def test_hostile_paths(path: str) -> None:
    assert problem_with_path(path, SHARED)


@pytest.mark.parametrize("path", ["a", "tours/views.py", ".env.example", "a b/ü.html", "-x", "gita/x", "media.py"])
def test_paths_that_are_files_of_a_repository(path: str) -> None:
    assert problem_with_path(path, SHARED) == ""


@given(st.text(alphabet="ab./\\\0\n-~ü", max_size=30))
def test_whatever_is_accepted_stays_inside(path: str) -> None:
    if not problem_with_path(path):
        joined = posixpath.normpath(posixpath.join("/srv/tree", path))
        assert joined == f"/srv/tree/{path}"


@pytest.mark.parametrize("name", ["", "-x", ".x", "a/b", "a b", "a..b", "a.lock", "a.", "x" * 65, "ä", "$(id)"])
def test_names_that_are_none(name: str) -> None:
    assert problem_with_name(name)


def test_contents() -> None:
    assert problem_with_content("a.py", b"x\n", b"y\n") == ""
    assert "binary" in problem_with_content("a.py", None, b"a\0b")
    assert "CRLF" in problem_with_content("a.py", b"x\n", b"x\r\n") and "CRLF" in problem_with_content(
        "a", None, b"\r\n"
    )
    assert problem_with_content("a.bat", b"x\r\n", b"y\r\n") == ""
    assert "KiB" in problem_with_content("a.py", None, b"x" * 2000, largest=1000)


def test_patches() -> None:
    good = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    assert problem_with_patch(good) == ""
    for bad in (
        "",
        "hello",
        f"{good}\0",
        "diff --git a/x b/x\nGIT binary patch\n",
        f"{good}rename from a\nrename to b\n",
    ):
        assert problem_with_patch(bad), bad


def test_a_file_is_looked_for_below_the_working_folder_first_and_whole() -> None:
    found = places_in_image("backend/shop/views.py", "/app")
    assert found[:3] == ["/app/backend/shop/views.py", "/app/shop/views.py", "/app/views.py"]
    assert all(p.startswith("/") and ".." not in p for p in found)


def test_a_new_file_goes_where_its_neighbours_are() -> None:
    tree = ["manage.py", "src/a.py", "src/shop/urls.py", "src/shop/views.py", "docs/x.md"]
    assert neighbours("src/shop/new.py", tree)[0] == "src/shop/urls.py"
    assert neighbours("src/shop/deep/er/new.py", tree)[0] == "src/shop/urls.py"
    # What an image leaves out it leaves out whole: nobody looks above a folder that has files.
    assert neighbours("docs/new.md", tree) == ["docs/x.md"] and neighbours("else/new.py", tree)[0] == "manage.py"
    assert folder_of_new("src/shop/new.py", "src/shop/urls.py", "/app/shop/urls.py") == "/app/shop/new.py"
    assert folder_of_new("src/shop/deep/new.py", "src/a.py", "/app/a.py") == "/app/shop/deep/new.py"
    assert folder_of_new("x/new.py", "src/a.py", "/app/a.py") == ""


PATHS = st.sampled_from(
    [VIEW, "requirements.txt", "tours/migrations/0001_x.py", "a/static/x.css", "README.md", "x.po", "Dockerfile"]
)
CHANGES = st.builds(
    Change, PATHS, st.sampled_from("AMDT"), st.sampled_from(["100644", "100755", "120000", "160000", "000000"]),
    st.sampled_from(["100644", "000000", "120000"]), st.integers(-1, 500), st.integers(-1, 500),
)  # fmt: skip
HOMES = st.lists(
    st.builds(Home, st.sampled_from([IMAGE, MOUNT, LIVE, VOLUME]), st.sampled_from(["api", "nginx"]),
              st.sampled_from(["web", "worker", "job", "proxy", "database"]), st.just("/app/x")), max_size=3)  # fmt: skip


@given(
    st.lists(CHANGES, max_size=6, unique_by=lambda c: c.path),
    st.dictionaries(PATHS, HOMES),
    st.booleans(),
    st.booleans(),
)
def test_nothing_is_passed_over(changes: list[Change], homes: dict[str, list[Home]], named: bool, forced: bool) -> None:
    verdict = judge(changes, homes, named=named, forced=forced)
    told = verdict.text()
    in_a_kind = {p for paths in verdict.kinds.values() for p in paths}
    for change in changes:
        aside = any(change.path in note for note in verdict.notes)
        assert change.path in in_a_kind or change.path in told or aside
        never = change.status == "D" or "migrations" in change.path or change.path in ("requirements.txt", "Dockerfile")
        assert not never or change.path not in in_a_kind
    assert verdict.refusals or in_a_kind
    assert all(r.what and r.command for r in verdict.refusals)
    assert set(verdict.kinds) <= set(hotfix.KINDS)
