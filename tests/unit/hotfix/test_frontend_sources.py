# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a front end is built from, by whom, and what is merely along in images of the app."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.git.changes import Change
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.frontend_sources import (
    Builder,
    app_folders,
    builders,
    sources,
    together,
    unbuildable,
    without_ballast,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.hotfix import (
    IMAGE,
    MOUNT,
    VOLUME,
    Home,
    judge,
)

TREE, RELEASE = "/srv/shop/releases/1", "20261120T084911Z-5d33865"
KINDS = {"api": "web", "celery": "worker", "builder": "job", "seed": "job", "nginx": "proxy"}
APP = "frontend/src/App.vue"
HTML = {"type": "volume", "source": "html", "target": "/out"}


def build(folder: str = "", dockerfile: str = "") -> dict[str, Any]:
    return {"build": {"context": f"{TREE}/{folder}".rstrip("/"), **({"dockerfile": dockerfile} if dockerfile else {})}}


def project(builder: dict[str, Any], api: dict[str, Any] | None = None) -> dict[str, Any]:
    app = build() if api is None else api
    return {
        "name": "shop",
        "services": {
            "api": {**app, "image": "shop-api:1"},
            "celery": {**app, "image": "shop-api:1"},
            "builder": {"image": "shop-builder:1", "volumes": [HTML], **builder},
            "seed": {**app, "image": "shop-api:1"},
            "nginx": {"image": "nginx", "volumes": [{**HTML, "read_only": True}]},
        },
        "volumes": {"html": {"name": "shop_html"}},
    }


def found(shop: dict[str, Any], images: dict[str, str] | None = None) -> dict[str, Builder]:
    known = {"shop-builder:1": "sha256:b", "shop-api:1": "sha256:a"} if images is None else images
    return builders(shop, KINDS, RELEASE, TREE, known)


def at(service: str, path: str = APP, where: str = IMAGE) -> Home:
    return Home(where, service, KINDS[service], f"/app/{path}")


def test_a_job_that_fills_what_the_proxy_serves_builds_and_others_do_not() -> None:
    assert found(project(build("frontend"))) == {"builder": Builder(("html",), ("frontend",), (), "shop-builder:1")}
    read = project(build("frontend"), {**build(), "volumes": [{**HTML, "read_only": True}]})
    assert found(read)["builder"].readers == ("api", "celery")
    assert found(project({**build("frontend"), "volumes": []})) == {}
    assert found(project({**build("frontend"), "scale": 0})) == {}
    mounted = project({"image": "node:22"})
    mounted["x-evenkeel-release"] = {"mounts": {"builder": {"/app": "frontend"}}}
    assert found(mounted, {})["builder"] == Builder(("html",), ("frontend",), (), "node:22")
    assert found(project(build("frontend")), {})["builder"].there is False


@pytest.mark.parametrize(
    ("builder", "api", "folders", "near"),
    [
        (build("frontend"), build(), ("frontend",), ()),
        (build("frontend"), build("backend"), ("frontend",), ()),
        (build(dockerfile="frontend/Dockerfile"), build(), (), ("frontend",)),
        (build(dockerfile="docker/Dockerfile.web"), build(dockerfile="docker/Dockerfile"), (), ()),
        (build("app", "Dockerfile.web"), build("app"), (), ()),
        (build(), build(), (), ()),
        ({"build": {"context": "/elsewhere"}}, build(), (), ()),
        (build(dockerfile="../Dockerfile"), build(), (), ()),
    ],
)
def test_a_builders_own_folder_is_nothing_of_the_apps(
    builder: dict[str, Any], api: dict[str, Any], folders: tuple[str, ...], near: tuple[str, ...]
) -> None:
    one = found(project(builder, api))["builder"]
    assert (one.folders, one.near) == (folders, near)


@pytest.mark.parametrize(
    ("path", "rolled"),
    [
        (APP, False),
        ("frontend/vite.config.ts", False),
        ("frontend/serve.py", True),
        ("frontend/templates/page.html", True),
        ("frontend/static/logo.svg", True),
        ("shop/views.py", True),
        ("frontends/x.js", True),
    ],
)
def test_the_app_is_replaced_only_where_django_may_read_it(path: str, rolled: bool) -> None:
    shop = project(build("frontend"))
    homes = {path: [at(s, path) for s in ("api", "builder", "celery", "seed")]}
    kept, along = without_ballast(homes, found(shop), shop)
    assert {h.service for h in kept[path]} == ({"api", "builder", "celery", "seed"} if rolled else {"builder"})
    assert along == ({} if rolled else {path: ["api", "celery", "seed"]})


def test_what_is_mounted_or_of_the_same_image_is_replaced_whatever_it_is() -> None:
    shop = project(build("frontend"))
    homes = {APP: [at("api", where=MOUNT), at("celery", where=VOLUME), at("builder")]}
    assert without_ballast(homes, found(shop), shop) == (homes, {})
    same = project({**build(), "image": "shop-api:1"})
    homes = {p: [at("api", p), at("builder", p)] for p in (APP, "shop/views.py")}
    assert found(same)["builder"].shared and without_ballast(homes, found(same), same) == (homes, {})
    # Code is nothing that the front end of such an image is built from.
    assert sources(homes, found(same)) == {APP: ["builder"]}
    # One that mounts the whole tree is not run for code either.
    whole = project({"image": "node:22"})
    whole["x-evenkeel-release"] = {"mounts": {"builder": {"/app": "."}}}
    mounted = {p: [at("builder", p, MOUNT), at("api", p)] for p in (APP, "shop/views.py", "templates/x.html")}
    assert sources(mounted, found(whole)) == {APP: ["builder"]}
    # Only a folder of the app below the builder's own is the app's.
    nested = project(build("web"), build("web/backend"))
    below = "web/backend/x.json"
    homes = {below: [at("api", below), at("builder", below)]}
    others = app_folders(nested, KINDS, TREE)
    assert others == {"web/backend"} and without_ballast(homes, found(nested), nested, others) == (homes, {})


def test_what_no_run_of_the_builder_would_bring_to_anybody_is_refused() -> None:
    shop = project(build("frontend"))
    along = {APP: [at("api")]}
    assert "whose image does not have it" in unbuildable([APP], along, found(shop), version="v9")[APP].what
    assert unbuildable([APP], along, found(shop), version="v9")[APP].command.endswith("update_version=v9")
    assert "not on this host any more (shop-builder:1)" in unbuildable([APP], along, found(shop, {}))[APP].what
    assert unbuildable([APP], {APP: [at("builder")]}, found(shop)) == {}
    assert unbuildable(["shop/views.py", "frontend/x.py"], {}, found(shop)) == {}
    # Of a branch some may be of no concern to any container.
    readme = ["frontend/README.md"]
    assert unbuildable(readme, {}, found(shop), named=False) == {} and unbuildable(readme, {}, found(shop))
    # Where only the recipe lies there, other things may lie there too.
    assert unbuildable([APP], along, found(project(build(dockerfile="frontend/Dockerfile")))) == {}


def test_who_fills_the_same_folder_is_run_as_well() -> None:
    known = {"a": Builder(("html",)), "b": Builder(("html", "admin")), "c": Builder(("admin",)), "d": Builder(("x",))}
    assert together(known, ["a"]) == ["a", "b", "c"] and together(known, ["d"]) == ["d"] and together(known, []) == []


PATHS = st.sampled_from([APP, "frontend/x.py", "frontend/static/a.css", "shop/views.py", "x.js"])
HOMES = st.lists(st.builds(at, st.sampled_from(sorted(KINDS)), st.just("x"), st.sampled_from([IMAGE, MOUNT, VOLUME])))


@given(st.dictionaries(PATHS, HOMES), st.sampled_from(["frontend", "", "web"]), st.booleans())
def test_whoever_is_left_out_the_file_still_reaches_somebody(
    homes: dict[str, list[Home]], folder: str, there: bool
) -> None:
    shop = project(build(folder))
    known = found(shop, None if there else {})
    kept, along = without_ballast(homes, known, shop)
    for path, several in homes.items():
        assert sorted(h.service for h in several) == sorted(
            [*(h.service for h in kept.get(path, ())), *along.get(path, ())]
        )
        # Nothing is left out unless a builder has it.
        assert path not in along or any(h.service in known for h in kept[path])
    changes = [Change(p) for p in sorted(homes)]
    lost = unbuildable(sorted(homes), homes, known)
    verdict = judge(changes, kept, sources=sources(kept, known), unbuildable=lost)
    assert set(verdict.jobs) <= set(known) and not set(verdict.services) & {"builder", "seed", "nginx"}
    told = verdict.text()
    assert all(p in told or any(p in paths for paths in verdict.kinds.values()) for p in homes)
