# SPDX-License-Identifier: GPL-3.0-or-later
"""What a proxy mounts out of a release at one path for ever, and relative mounts that are data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.secret_values import MARK
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.definition import LIVE
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.proxy_files import files_of, place_first, put
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.data_mounts import (
    is_data,
    make_room_for_data,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.project import generate, live_mounts


def bind(source: str, target: str) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": target}


def project(root: str) -> dict[str, Any]:
    return {
        "name": "travel",
        "services": {
            "nginx": {
                "image": "nginx:1.26",
                "volumes": [
                    bind(f"{root}/deploy/nginx.conf", "/etc/nginx/nginx.conf"),
                    bind(f"{root}/deploy/sites", "/etc/nginx/conf.d"),
                    bind("/etc/letsencrypt", "/etc/letsencrypt"),
                ],
            },
            "api": {"image": "shop", "command": "gunicorn shop", "volumes": [bind(f"{root}/deploy/sites", "/sites")]},
        },
    }


def release(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(folder)


def test_only_a_proxy_mounts_from_one_path_for_ever() -> None:
    store = "/srv/travel/shared/proxy"
    live = live_mounts(project("/r"), "/r", store)
    assert live == {
        "nginx": {
            "/r/deploy/nginx.conf": f"{store}/nginx/deploy/nginx.conf",
            "/r/deploy/sites": f"{store}/nginx/deploy/sites",
        }
    }
    made = generate(project("/r"), "/r", "a" * 40, "id", {"/r/deploy/sites": "/mounts/x/sites"}, live)
    assert [v["source"] for v in made["services"]["nginx"]["volumes"]] == [
        f"{store}/nginx/deploy/nginx.conf",
        f"{store}/nginx/deploy/sites",
        "/etc/letsencrypt",
    ]
    assert made["services"]["api"]["volumes"][0]["source"] == "/mounts/x/sites"
    inside = {"/etc/nginx/nginx.conf": "deploy/nginx.conf", "/etc/nginx/conf.d": "deploy/sites"}
    assert made[MARK][LIVE] == {"nginx": inside}


def test_a_mount_of_the_whole_tree_is_a_copy_for_a_proxy_too() -> None:
    whole = {"services": {"nginx": {"image": "nginx", "volumes": [bind("/r", "/app")]}}}
    assert live_mounts(whole, "/r", "/s") == {}


def test_files_of_a_release_and_those_it_no_longer_has(tmp_path: Path) -> None:
    first = release(
        tmp_path / "1", {"deploy/nginx.conf": "one", "deploy/sites/a.conf": "a", "deploy/sites/b.conf": "b"}
    )
    live = live_mounts(project(first), first, str(tmp_path / "live"))
    assert place_first(live, first)
    assert not place_first(live, first)
    made = generate(project(first), first, "a" * 40, "id", {f"{first}/deploy/sites": "/mounts/x"}, live)
    assert files_of(first, made, "nginx") == {
        "/etc/nginx/nginx.conf": b"one",
        "/etc/nginx/conf.d/a.conf": b"a",
        "/etc/nginx/conf.d/b.conf": b"b",
    }
    second = release(
        tmp_path / "2", {"deploy/nginx.conf": "two", "deploy/sites/b.conf": "b", "deploy/sites/sub/c.conf": "c"}
    )
    # What we write there ourselves belongs to no release.
    own = tmp_path / "live/nginx/deploy/sites/evenkeel"
    own.mkdir()
    (own / "travel-api.conf").write_text("server 10.0.0.1;", encoding="utf-8")
    assert files_of(second, made, "nginx") == {
        "/etc/nginx/nginx.conf": b"two",
        "/etc/nginx/conf.d/a.conf": None,
        "/etc/nginx/conf.d/b.conf": b"b",
        "/etc/nginx/conf.d/sub/c.conf": b"c",
    }
    assert files_of(second, made, "api") == {}


def test_what_no_release_ever_had_is_the_servers_own(tmp_path: Path) -> None:
    first = release(tmp_path / "releases/1", {"deploy/nginx.conf": "one", "deploy/sites/a.conf": "a"})
    live = live_mounts(project(first), first, str(tmp_path / "live"))
    place_first(live, first)
    made = generate(project(first), first, "a" * 40, "id", {f"{first}/deploy/sites": "/mounts/x"}, live)
    # As a stack that was started by hand has it: in no revision, one beside what the revision has, one in a mount of its own.
    release(tmp_path / "live/nginx/deploy/sites", {"local.conf": "mine"})
    made["services"]["nginx"]["volumes"].append(bind(str(tmp_path / "certs"), "/etc/nginx/certs"))
    made[MARK][LIVE]["nginx"]["/etc/nginx/certs"] = "deploy/certs"
    release(tmp_path / "certs", {"key.pem": "secret"})
    second = release(tmp_path / "releases/2", {"deploy/nginx.conf": "two", "deploy/sites/b.conf": "b"})
    gone = {d for d, content in files_of(second, made, "nginx").items() if content is None}
    assert gone == {"/etc/nginx/conf.d/a.conf"}
    told = {d for d, content in files_of(second, made, "nginx", strangers=True).items() if content is None}
    assert told == {"/etc/nginx/conf.d/a.conf", "/etc/nginx/conf.d/local.conf"}, (
        "somebody is to hear of it all the same"
    )


def test_a_file_does_not_become_a_folder(tmp_path: Path) -> None:
    root = release(tmp_path / "1", {"deploy/nginx.conf/x": "1", "deploy/sites/a.conf": "a"})
    (tmp_path / "live/nginx/deploy").mkdir(parents=True)
    (tmp_path / "live/nginx/deploy/nginx.conf").write_text("old", encoding="utf-8")
    with pytest.raises(BadInput, match=r"deploy/nginx.conf is a folder"):
        place_first(live_mounts(project(root), root, str(tmp_path / "live")), root)


def test_what_the_revision_has_nothing_for_is_data(tmp_path: Path) -> None:
    root = release(tmp_path / "1", {"media/.gitkeep": "", "code/a.py": ""})
    assert is_data(f"{root}/pgdata", root)
    assert is_data(f"{root}/media", root)
    assert not is_data(f"{root}/code", root)
    assert not is_data(root, root)
    assert not is_data("/srv/elsewhere", root)


def test_data_has_one_place_and_what_looks_like_a_file_is_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "shared/pgdata"
    assert make_room_for_data(str(place), "pgdata", check_mode=True) and not place.exists()
    assert make_room_for_data(str(place), "pgdata", check_mode=False) and place.is_dir()
    (place / "PG_VERSION").write_text("17", encoding="utf-8")
    assert not make_room_for_data(str(place), "pgdata", check_mode=False)
    assert (place / "PG_VERSION").exists()
    with pytest.raises(BadInput, match=r"db.sqlite3"):
        make_room_for_data(str(tmp_path / "shared/db.sqlite3"), "db.sqlite3", check_mode=False)
    assert make_room_for_data(str(tmp_path / "shared/.cache"), ".cache", check_mode=True)


# -- what is committed, and what lies where root writes, is not to be trusted --------------------------------------


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    path = tmp_path / "etc/shadow"
    path.parent.mkdir()
    path.write_text("root's own", encoding="utf-8")
    return path


@pytest.mark.parametrize("how", ["file", "folder", "absolute"])
def test_a_committed_link_to_the_server_s_own_files_is_not_published(how: str, tmp_path: Path, shadow: Path) -> None:
    root = release(tmp_path / "releases/1", {"deploy/nginx.conf": "x", "deploy/sites/shop.conf": "y"})
    link = Path(root, "deploy/sites/secret.conf")
    if how == "folder":
        link.parent.joinpath("more").symlink_to("../../../../etc")
    else:
        link.symlink_to("../../../../etc/shadow" if how == "file" else shadow)
    live = live_mounts(project(root), root, str(tmp_path / "proxy"))
    with pytest.raises(BadInput, match="leads out of the revision"):
        place_first(live, root)
    made = generate(project(root), root, "a" * 40, "1", {f"{root}/deploy/sites": "/mounts/x/sites"}, live)
    with pytest.raises(BadInput, match="leads out of the revision"):
        files_of(root, made, "nginx")
    assert "root's own" not in [p.read_text() for p in (tmp_path / "proxy").rglob("*") if p.is_file()]


def test_a_link_inside_the_revision_is_gone_through(tmp_path: Path) -> None:
    root = release(tmp_path / "releases/1", {"deploy/nginx.conf": "x", "sites/shop.conf": "y", "sites/sub/z.conf": "z"})
    Path(root, "deploy/sites").symlink_to("../sites")
    Path(root, "sites/again.conf").symlink_to("shop.conf")
    Path(root, "sites/loop").symlink_to(".")
    Path(root, "sites/nowhere").symlink_to("none")
    live = live_mounts(project(root), root, str(tmp_path / "proxy"))
    assert place_first(live, root)
    made = generate(project(root), root, "a" * 40, "1", {f"{root}/deploy/sites": "/mounts/x/sites"}, live)
    assert {k: v for k, v in files_of(root, made, "nginx").items() if "conf.d" in k} == {
        "/etc/nginx/conf.d/shop.conf": b"y", "/etc/nginx/conf.d/again.conf": b"y", "/etc/nginx/conf.d/sub/z.conf": b"z",
    }  # fmt: skip
    assert (tmp_path / "proxy/nginx/deploy/sites/sub/z.conf").read_text() == "z"
    assert (tmp_path / "proxy/nginx/deploy/sites").stat().st_mode & 0o777 == 0o755


def test_a_planted_temporary_name_is_not_written_through(tmp_path: Path, shadow: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live/.evenkeel-making").symlink_to(shadow)
    put(str(tmp_path / "live/shop.conf"), b"new")
    assert (tmp_path / "live/shop.conf").read_bytes() == b"new" and shadow.read_text() == "root's own"
    assert not (tmp_path / "live/shop.conf").is_symlink()


def test_a_pipe_that_is_committed_nowhere_is_not_waited_for(tmp_path: Path) -> None:
    root = release(tmp_path / "releases/1", {"deploy/nginx.conf": "x", "deploy/sites/shop.conf": "y"})
    os.mkfifo(Path(root, "deploy/sites/pipe"))
    live = live_mounts(project(root), root, str(tmp_path / "proxy"))
    assert place_first(live, root)
    assert sorted(os.listdir(tmp_path / "proxy/nginx/deploy/sites")) == ["shop.conf"]
