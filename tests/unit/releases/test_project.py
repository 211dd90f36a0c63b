# SPDX-License-Identifier: GPL-3.0-or-later
"""The compose.yaml of a release: images and mounts pinned, and no secret in its diff."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import compose_project
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.definition import with_contexts, without_contexts
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import project as releases_project
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.project import (
    BadProject,
    as_text,
    generate,
    image_names,
    shown,
    tree_mounts,
)
from tests.unit import compose_answers
from tests.unit.engine_in_memory import EngineInMemory

ROOT = "/srv/shop/releases/20261120T084911Z-5d33865"
REVISION = "5d33865fdfc578b623a4dde03705b70f6820116e"


def bind(source: str) -> dict[str, str]:
    return {"type": "bind", "source": source, "target": "/x"}


def project(**services: dict[str, Any]) -> dict[str, Any]:
    return {"name": "shop", "services": services}


def made(source: dict[str, Any], placed: dict[str, str] | None = None) -> dict[str, Any]:
    return generate(source, ROOT, REVISION, os.path.basename(ROOT), placed or {})


# -- images -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (None, "shop-api:5d33865fdfc5"),
        ("travel", "travel:5d33865fdfc5"),
        ("travel:latest", "travel:5d33865fdfc5"),
        ("localhost:5000/a/travel", "localhost:5000/a/travel:5d33865fdfc5"),
        ("localhost:5000/travel:7", "localhost:5000/travel:5d33865fdfc5"),
    ],
)
def test_a_built_image_is_tagged_with_the_revision(image: str | None, named: str) -> None:
    assert image_names(project(api={"build": {"context": "/x"}, "image": image}), REVISION) == {"api": named}


def test_one_recipe_is_one_image_and_another_is_another() -> None:
    same, other = {"context": "/x"}, {"context": "/x", "target": "front"}
    names = image_names(project(celery={"build": same}, api={"build": same}, front={"build": other}), REVISION)
    assert names == {
        "api": "shop-api:5d33865fdfc5",
        "celery": "shop-api:5d33865fdfc5",
        "front": "shop-front:5d33865fdfc5",
    }


def test_who_runs_a_built_image_by_its_name_gets_the_new_one() -> None:
    services = project(
        api={"build": {"context": "/x"}, "image": "travel"},
        beat={"image": "travel"},
        celery={"image": "travel:latest"},
        old={"image": "travel:1"},
        db={"image": "postgres:17"},
    )
    result = made(services)["services"]
    assert {n: s["image"] for n, s in result.items()} == {
        "api": "travel:5d33865fdfc5",
        "beat": "travel:5d33865fdfc5",
        "celery": "travel:5d33865fdfc5",
        "old": "travel:1",
        "db": "postgres:17",
    }
    assert "build" not in result["celery"]


def test_the_image_says_of_what_it_is_made() -> None:
    result = made(project(api={"build": {"context": "/x", "labels": {"own": "1"}}}))
    assert result["services"]["api"]["build"]["labels"] == {
        "own": "1",
        "org.opencontainers.image.revision": REVISION,
        "evenkeel.project": "shop",
    }
    assert result["x-evenkeel-release"] == {"release": os.path.basename(ROOT), "revision": REVISION}


def test_compose_finds_no_context_in_a_release_and_we_do() -> None:
    contexts = [ROOT, f"{ROOT}/web", f"{ROOT}-other", "/common", "https://git.example/x.git"]
    source = project(**{f"s{n}": {"build": {"context": c, "args": {"A": "1"}}} for n, c in enumerate(contexts)}, db={})
    hidden = without_contexts(source, ROOT)
    found = [hidden["services"][f"s{n}"]["build"]["context"] for n in range(len(contexts))]
    nowhere = f"{ROOT}/.evenkeel/images-are-built-by-playbook-update"
    assert found == [nowhere, f"{nowhere}/web", *contexts[2:]]
    assert with_contexts(hidden) == source == with_contexts(source), "as releases of before are written"


def test_profiles_are_dropped_for_all_that_is_in_it_is_active() -> None:
    assert made(project(api={"image": "x", "profiles": ["web"]}))["services"]["api"] == {"image": "x"}


# -- mounts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ({}, {"default": {"aliases": ["backend"]}}),
        ({"networks": {"default": None}}, {"default": {"aliases": ["backend"]}}),
        (
            {"networks": {"a": {"aliases": ["x", "backend"]}, "b": {"priority": 1}}},
            {"a": {"aliases": ["x", "backend"]}, "b": {"priority": 1, "aliases": ["backend"]}},
        ),
    ],
)
def test_a_container_name_becomes_an_alias(networks: dict[str, Any], expected: dict[str, Any]) -> None:
    service = {"build": {"context": "/x"}, "container_name": "backend", **networks}
    api = made(project(api=service))["services"]["api"]
    assert "container_name" not in api
    assert api["networks"] == expected


@pytest.mark.parametrize("more", [{"ports": [{"target": 80}]}, {"network_mode": "host"}])
def test_a_container_name_is_no_alias_where_there_is_only_one(more: dict[str, Any]) -> None:
    api = made(project(api={"build": {"context": "/x"}, "container_name": "backend", **more}))["services"]["api"]
    assert "networks" not in api
    assert ("container_name" in api) == ("ports" in more)


def test_a_database_keeps_its_name() -> None:
    db = made(project(db={"image": "postgres:17", "container_name": "travel-db"}))["services"]["db"]
    assert db == {"image": "postgres:17", "container_name": "travel-db"}


def test_what_lies_in_the_tree_is_mounted_from_its_copy() -> None:
    source = project(
        nginx={
            "image": "x",
            "volumes": [bind(f"{ROOT}/nginx.conf"), bind(ROOT), bind("/srv/media"), bind(f"{ROOT}-other/x")],
        },
        db={"image": "x", "volumes": [{"type": "volume", "source": "pgdata", "target": "/x"}]},
    )
    assert tree_mounts(source, ROOT) == [ROOT, f"{ROOT}/nginx.conf"]
    before = json.dumps(source)
    result = made(source, {f"{ROOT}/nginx.conf": "/m/1/nginx.conf", ROOT: "/m/2/tree"})
    assert [v["source"] for v in result["services"]["nginx"]["volumes"]] == [
        "/m/1/nginx.conf",
        "/m/2/tree",
        "/srv/media",
        f"{ROOT}-other/x",
    ]
    assert json.dumps(source) == before


def test_a_file_of_configs_or_secrets_is_content_that_the_hash_sees() -> None:
    source = project(nginx={"image": "x", "configs": [{"source": "site"}]}, api={"image": "x"})
    source["configs"] = {"site": {"file": f"{ROOT}/site.conf"}, "far": {"file": "/etc/far"}}
    assert tree_mounts(source, ROOT) == [f"{ROOT}/site.conf"]
    result = made(source, {f"{ROOT}/site.conf": "/m/1/site.conf"})
    assert result["configs"] == {"site": {"file": "/m/1/site.conf"}, "far": {"file": "/etc/far"}}
    assert result["services"]["nginx"]["labels"] == {"evenkeel.content": "/m/1/site.conf"}
    assert "labels" not in result["services"]["api"]


@pytest.mark.parametrize("where", ["service", "secrets"])
def test_data_in_the_tree_is_refused(where: str) -> None:
    source = project(db={"image": "x"})
    if where == "service":
        source["services"]["db"]["volumes"] = [bind(f"{ROOT}/pgdata")]
    else:
        source["secrets"] = {"db": {"file": f"{ROOT}/pgdata"}}
    with pytest.raises(BadProject, match=r"(db|secrets\.db) mounts pgdata, which is not in the revision: it is data"):
        made(source)


# -- what is shown ----------------------------------------------------------------------------------------


def test_no_value_of_a_variable_is_shown() -> None:
    source = project(
        api={
            "build": {"args": {"PIP_TOKEN": 't0ken"q'}},
            "environment": {"DEBUG": "0", "SECRET_KEY": "s3cret$$", "EMPTY": None, "KEY": "abc"},
        },
        redis={"command": ["redis-server"]},
    )
    source["configs"] = {"c": {"content": "anything"}}
    told = shown(as_text(source))
    for value in ("t0ken", "s3cret", "anything", '"0"'):
        assert value not in told
    for text in ("SECRET_KEY", "DEBUG", "redis-server", '"name": "shop"'):
        assert text in told


@pytest.mark.parametrize("text", ["", "services:\n  api: {environment: {PASSWORD: x}}\n", "{"])
def test_what_is_not_ours_is_not_shown(text: str) -> None:
    assert shown(text) == ""


# -- one call, with Compose itself ------------------------------------------------------------------------

FILES = {
    "compose.yaml": "services:\n  api:\n    image: ${IMAGE:-base}\n    volumes: ['./site.conf:/x', './.env:/e', '.:/app']\n",
    "docker-compose.override.yml": "services:\n  api: {command: [sleep, '999']}\n",
    "site.conf": "one\n",
}


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release folder with a project of a user who works with Compose's own names; no engine is asked."""
    folder = tmp_path / "releases/20261120T084911Z-5d33865"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("IMAGE=a:1\n")
    (folder / ".env").symlink_to("../../shared/.env")
    monkeypatch.setattr(releases_project, "connect", lambda _folder: EngineInMemory())
    compose_answers.remember(monkeypatch)
    return folder


def call(folder: Path, check: bool = False, **more: Any) -> dict[str, Any]:
    params = {"project_src": str(folder), "files": ["compose.yaml"], "project_name": "shop", "revision": REVISION}
    top = folder.parents[1]
    paths = {"mounts_dir": str(top / "mounts"), "state_dir": str(top / ".evenkeel")}
    return compose_project.call({**params, **paths, **more}, check)


def snapshot(folder: Path) -> dict[str, str]:
    return {str(p): p.read_text() if p.is_file() else "" for p in folder.rglob("*")}


def plain(folder: Path) -> dict[str, Any]:
    """The project as an admin's ``docker compose`` understands it there."""
    done = subprocess.run(
        ["docker", "compose", "config", "--format", "json"], cwd=folder, check=True, capture_output=True, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_plain_compose_in_the_release_means_what_was_generated(release: Path) -> None:
    before = snapshot(release.parents[1])
    planned = call(release, check=True)
    assert snapshot(release.parents[1]) == before and planned["changed"]

    result = call(release)
    assert result["changed"] and result["diff"]["before"] == ""
    assert stat.S_IMODE((release / "compose.yaml").stat().st_mode) == 0o600
    api = plain(release)["services"]["api"]
    assert (api["image"], api.get("command")) == ("a:1", None)
    sources = [v["source"] for v in api["volumes"]]
    mounts = re.escape(str(release.parents[1] / "mounts"))
    assert re.fullmatch(rf"{mounts}/[0-9a-f]{{64}}/site\.conf", sources[0])
    # The server's own file is mounted where it is, not copied: it may hold secrets, and it is no part of the revision.
    assert sources[1] == str(release.parents[1] / "shared/.env")
    assert re.fullmatch(rf"{mounts}/[0-9a-f]{{64}}/tree", sources[2])
    assert sorted(os.listdir(sources[2])) == [".env", "site.conf"]

    assert call(release)["changed"] is False
    assert call(release, check=True)["changed"] is False
    Compose(str(release)).run("config", "--quiet")


def test_an_override_that_is_asked_for_is_read_again(release: Path) -> None:
    files = ["./compose.yaml", "docker-compose.override.yml"]
    assert call(release, files=files)["changed"]
    assert plain(release)["services"]["api"]["command"] == ["sleep", "999"]
    assert call(release, files=files)["changed"] is False


def test_what_was_killed_before_it_wrote_goes_on(release: Path) -> None:
    releases_project.put_aside(str(release))
    assert call(release)["changed"]
    assert plain(release)["services"]["api"]["image"] == "a:1"


def test_new_content_is_a_new_path_and_the_same_content_the_same(release: Path) -> None:
    def path_of() -> str:
        call(release)
        source: str = plain(release)["services"]["api"]["volumes"][0]["source"]
        return source

    first = path_of()
    (release / "site.conf").write_text("two\n")
    second = path_of()
    (release / "site.conf").write_text("one\n")
    assert path_of() == first != second


@pytest.mark.parametrize(("line", "refused"), [("COMPOSE_FILE=x.yml", True), ("export COMPOSE_PROJECT_NAME='other'", True),
                                               ("COMPOSE_PROJECT_NAME=shop", False), ("# COMPOSE_FILE=x", False)])  # fmt: skip
def test_an_environment_file_that_would_mislead_a_plain_compose(release: Path, line: str, refused: bool) -> None:
    (release.parents[1] / "shared/.env").write_text(f"IMAGE=a:1\n{line}\n")
    if refused:
        with pytest.raises(BadInput, match=r"the environment file sets COMPOSE_(FILE|PROJECT_NAME), so that"):
            call(release)
        assert (release / "compose.yaml").read_text() == FILES["compose.yaml"]
    else:
        assert call(release)["changed"]


def test_an_invalid_project_is_told_in_composes_words(release: Path) -> None:
    (release / "compose.yaml").write_text("services: {api: {image: x, volume: [a]}}\n")
    with pytest.raises(BadInput, match=r"not valid: .*Additional property volume is not allowed"):
        call(release)
    with pytest.raises(BadInput, match="files: the project's own Compose files are needed"):
        call(release, files=[])
    with pytest.raises(BadInput, match=r"files: gone\.yml is not there in"):
        call(release, files=["gone.yml"])


# -- data in a folder that a version has files of ----------------------------------------------------------

SEEDS = {
    "compose.yaml": "services:\n  api:\n    image: gunicorn\n    command: gunicorn x\n    volumes: ['./up:/up', './code:/code']\n",
    "up/seed.png": "one",
    "code/app.py": "one",
}


def version(release: Path, name: str, **files: str) -> Path:
    """Another release beside one, with these files instead."""
    folder = release.parent / name
    for path, text in {**SEEDS, **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def mounted(folder: Path) -> dict[str, Path]:
    """Where a release's mounts come from, by their place in the container."""
    project = json.loads((folder / "compose.yaml").read_text())
    return {v["target"]: Path(v["source"]) for v in project["services"]["api"]["volumes"]}


@pytest.fixture
def serving(release: Path) -> Path:
    """A release that serves."""
    folder = version(release, "20261121T000000Z-1111111")
    call(folder, data_dir=str(release.parents[1] / "shared"))
    (release.parents[1] / "current").symlink_to(f"releases/{folder.name}")
    return folder


def test_what_containers_have_written_beside_committed_files_is_data_and_stays(release: Path, serving: Path) -> None:
    (mounted(serving)["/up"] / "mine.png").write_text("mine")
    new = version(release, "20261122T000000Z-2222222", **{"up/seed.png": "two", "code/app.py": "two"})
    planned, result = call(new, check=True), call(new)
    assert mounted(new)["/up"] == mounted(serving)["/up"] and mounted(new)["/code"] != mounted(serving)["/code"]
    assert planned["notes"] == result["notes"] and "./up has what no version has" in str(result["notes"])
    assert "mine.png" in str(result["notes"]) and "./code" not in str(result["notes"])


def test_what_nobody_has_written_to_is_of_the_version(release: Path, serving: Path) -> None:
    (mounted(serving)["/code"] / "__pycache__").mkdir()
    (mounted(serving)["/code"] / "__pycache__/app.pyc").write_text("x")
    (mounted(serving)["/code"] / "node_modules").mkdir()
    new = version(release, "20261122T000000Z-2222222", **{"up/seed.png": "two"})
    assert call(new)["notes"] == []
    assert (mounted(new)["/up"] / "seed.png").read_text() == "two"


def test_data_among_code_is_refused(release: Path, serving: Path) -> None:
    (mounted(serving)["/code"] / "db.sqlite3").write_text("rows")
    new = version(release, "20261122T000000Z-2222222", **{"code/app.py": "two"})
    with pytest.raises(
        BadInput, match=r"\./code has what no version has, written by containers \(db.sqlite3\), beside the code"
    ):
        call(new)
    assert "x-evenkeel-release" not in (new / "compose.yaml").read_text()


def test_data_stays_where_a_version_begins_or_ceases_to_have_files_there(release: Path, serving: Path) -> None:
    def released(name: str, **files: str) -> Path:
        folder = version(release, name, **files)
        if "up/seed.png" in files and not files["up/seed.png"]:
            (folder / "up/seed.png").unlink()
            (folder / "up").rmdir()
        call(folder, data_dir=str(release.parents[1] / "shared"))
        (release.parents[1] / "current").unlink()
        (release.parents[1] / "current").symlink_to(f"releases/{folder.name}")
        return folder

    (mounted(serving)["/up"] / "mine.png").write_text("mine")
    without = released("20261122T000000Z-2222222", **{"up/seed.png": ""})
    assert (mounted(without)["/up"] / "mine.png").read_text() == "mine"
    (mounted(without)["/up"] / "mine.png").unlink()
    (mounted(without)["/up"] / "seed.png").unlink()
    empty = released("20261123T000000Z-3333333", **{"up/seed.png": ""})
    assert mounted(empty)["/up"] == release.parents[1] / "shared/up"
    (mounted(empty)["/up"] / "mine.png").write_text("mine again")
    again = released("20261124T000000Z-4444444", **{"up/seed.png": "two"})
    assert (mounted(again)["/up"] / "mine.png").read_text() == "mine again"
