# SPDX-License-Identifier: GPL-3.0-or-later
"""From where a stack runs, whether that is what runs, and what of its mounts is data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.adopt.adoption import (
    CannotAdopt,
    Origin,
    Started,
    as_found,
    data_in,
    differing,
    in_tree,
    origin_of,
    places_of,
    problem_with_places,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.adopted import beside, binds_inside

HOME = "/home/deploy/app"
API = Started("travel", "api", "travel-api-1", "h1", "sha256:a", True, HOME, (f"{HOME}/c.yml",))
DB = replace(API, service="db", name="travel-db-1", config_hash="h2")


def bind(source: str, target: str, read_only: bool = False) -> dict[str, object]:
    return {"type": "bind", "source": source, "target": target, **({"read_only": True} if read_only else {})}


PROJECT = {
    "name": "travel",
    "services": {
        "api": {"build": {"context": HOME, "dockerfile": "Dockerfile"},
                "volumes": [bind(f"{HOME}/media", "/app/media"), bind(f"{HOME}/shop", "/app/shop")]},
        "db": {"image": "postgres:17", "volumes": [bind(f"{HOME}/pgdata", "/var/lib/postgresql/data")]},
        "nginx": {"image": "nginx:1.26", "profiles": ["web"],
                  "volumes": [bind(f"{HOME}/nginx.conf", "/etc/nginx/conf.d/default.conf", True),
                              bind("/home/deploy/app_shared/certs", "/certs", True)]},
    },
}  # fmt: skip


def test_it_runs_from_where_its_containers_say() -> None:
    found = Origin(HOME, (f"{HOME}/c.yml",), ())
    stopped = replace(API, folder="/old", running=False)
    assert origin_of("travel", "", [API, DB, stopped]) == origin_of("travel", HOME, [API, DB]) == found


@pytest.mark.parametrize(
    ("containers", "folder", "told"),
    [
        ([], "", "there run: none"),
        ([replace(API, project="shop")], "", r"there run: shop \(from /home/deploy/app\)"),
        ([replace(API, running=False)], "", "no container of a Compose project travel runs"),
        ([API, DB], "/srv", "was not started from /srv, but from /home/deploy/app"),
        ([API, replace(DB, folder="/old", files=("/old/c.yml",))], "", "api from .*; db from /old/c.yml"),
        ([API, replace(DB, env_files=("/x",))], HOME, "in several ways"),
        ([replace(API, files=())], "", "do not say which Compose files"),
    ],
)
def test_what_is_not_one_stack_is_refused(containers: list[Started], folder: str, told: str) -> None:
    with pytest.raises(CannotAdopt, match=told):
        origin_of("travel", folder, containers)


def test_the_services_that_differ_are_named() -> None:
    assert differing([API, DB, replace(DB, running=False, config_hash="x")], {"api": "h1", "db": "h2"}) == []
    assert differing([API, DB], {"db": "other"}) == ["api (is not in these files; of a profile?)", "db"]


@pytest.mark.parametrize(
    ("root", "problem"),
    [("/srv/travel", ""), (HOME, "is the folder that runs"), (f"{HOME}/srv", "lies in"), ("/home/deploy", ""),
     (f"{HOME}_v2", "")],
)  # fmt: skip
def test_releases_do_not_lie_in_what_runs(root: str, problem: str) -> None:
    assert problem in problem_with_places(root, HOME) and bool(problem) == bool(problem_with_places(root, HOME))
    assert problem_with_places("/srv/x", "/srv/x/releases/20261120T084911Z-5d33865")


def test_data_and_what_proxies_mount_stay_where_they_are() -> None:
    binds = binds_inside(PROJECT, HOME)
    assert sorted(binds) == ["media", "nginx.conf", "pgdata", "shop"]
    git = {"shop": (["models.py"], []), "nginx.conf": ([""], []), "media": ([], ["a.jpg"]), "pgdata": ([], ["base/"])}
    with_git = data_in(binds, git, [])
    without_git = data_in(binds, None, ["shop", "nginx.conf", "pgdata"])
    # A database's folder is data, whatever lies in it.
    assert with_git == without_git == ["media", "pgdata"]
    assert places_of(binds, with_git, HOME) == {p: f"{HOME}/{p}" for p in ("media", "nginx.conf", "pgdata")}


def test_a_folder_that_git_has_files_of_is_data_where_only_the_server_has_others() -> None:
    git = {"shop": (["models.py"], []), "nginx.conf": ([""], []), "pgdata": ([], [])}
    assert "media" in data_in(binds_inside(PROJECT, HOME), {**git, "media": (["seed.jpg"], ["2024/"])}, [])
    assert "media" not in data_in(binds_inside(PROJECT, HOME), {**git, "media": (["seed.jpg"], [])}, [])
    both = {**git, "media": ([], []), "shop": (["models.py"], ["db.sqlite3"])}
    with pytest.raises(CannotAdopt, match=r"\./shop is mounted .* with both the code .* \(db.sqlite3\)"):
        data_in(binds_inside(PROJECT, HOME), both, [])


def test_of_a_mount_of_the_whole_folder_the_servers_own_files_are_looked_at_too() -> None:
    api = {"image": "x", "volumes": [bind(HOME, "/app")]}
    binds = binds_inside({"services": {"api": api}}, HOME)
    assert binds == {".": [("other", True)]}
    assert data_in(binds, {".": (["manage.py"], [])}, []) == [] == data_in(binds, None, ["."])
    with pytest.raises(CannotAdopt, match=r"\./ is mounted .* \(db.sqlite3, media/\)"):
        data_in(binds, {".": (["manage.py"], ["db.sqlite3", "media/"])}, [])


def test_as_found_changes_nothing_of_a_container() -> None:
    places = {"nginx.conf": f"{HOME}/nginx.conf"}
    found = as_found(PROJECT, HOME, "/srv/travel/releases/r1", "abc", places)
    api, nginx = found["services"]["api"], found["services"]["nginx"]
    assert api["build"]["context"] == "/srv/travel/releases/r1" and "image" not in api
    assert [s["volumes"] for s in found["services"].values()] == [s["volumes"] for s in PROJECT["services"].values()]  # type: ignore[attr-defined]
    assert "profiles" not in nginx
    mark = found["x-evenkeel-release"]
    assert mark["live"] == {"nginx": {"/etc/nginx/conf.d/default.conf": "nginx.conf"}} and mark["adopted"] == HOME


def test_paths_move_with_the_tree_and_what_lay_beside_it_does_not() -> None:
    moved = in_tree(PROJECT, HOME, "/srv/travel/releases/r1")
    assert moved["services"]["db"]["volumes"][0]["source"] == "/srv/travel/releases/r1/pgdata"
    assert moved["services"]["nginx"]["volumes"][1]["source"] == "/home/deploy/app_shared/certs"
    later = in_tree(PROJECT, "/home/deploy", "/srv/travel/releases")
    back = beside(later, "/srv/travel/releases/app", HOME)
    assert back["services"]["nginx"]["volumes"][1]["source"] == "/home/deploy/app_shared/certs"
    assert back["services"]["db"]["volumes"][0]["source"] == "/srv/travel/releases/app/pgdata"
