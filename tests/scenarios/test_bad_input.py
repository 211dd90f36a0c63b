# SPDX-License-Identifier: GPL-3.0-or-later
"""Input that cannot be carried out: a clear message each, and nothing touched, on a real stack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_rolling import call as roll
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import firewall, proxy_routes
from tests.bed.shop import Shop, run


@pytest.fixture
def project(shop: Shop) -> Iterator[Path]:
    """A copy of the running project's file, to be spoilt; whatever runs must be the same afterwards."""
    folder = shop.folder / "spoilt"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(shop.root / "current/compose.yaml", folder / "compose.yaml")
    before = [(i["Id"], i["State"]["StartedAt"]) for i in shop.inspections()]
    yield folder
    assert [(i["Id"], i["State"]["StartedAt"]) for i in shop.inspections()] == before


def refusal(shop: Shop, folder: Path, **parameters: Any) -> str:
    """What the call is refused with."""
    with pytest.raises(BadInput) as caught:
        roll({"project_src": str(folder), "state_dir": str(shop.folder / "state"), **parameters}, False)
    text = caught.value.message()
    assert text.startswith("What: ")
    assert "\nNow: nothing was touched" in text
    assert "\nNext: " in text
    return text


def spoil(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the project's definition."""
    file = folder / "compose.yaml"
    project = json.loads(file.read_text(encoding="utf-8"))
    change(project["services"])
    file.write_text(json.dumps(project), encoding="utf-8")


def test_a_missing_project_folder(shop: Shop, project: Path) -> None:
    assert "does not exist" in refusal(shop, project / "nowhere")


def test_a_relative_project_folder(shop: Shop, project: Path) -> None:
    assert "is relative" in refusal(shop, Path("srv/travel"))


def test_a_file_that_escapes(shop: Shop, project: Path) -> None:
    assert "leaves the project folder" in refusal(shop, project, files=["../../etc/passwd"])


def test_an_invalid_compose_file(shop: Shop, project: Path) -> None:
    (project / "compose.yaml").write_text("services: [", encoding="utf-8")
    assert "is not valid" in refusal(shop, project)


def test_an_unknown_service(shop: Shop, project: Path) -> None:
    text = refusal(shop, project, services=["apj"])
    assert "there is no service apj" in text
    assert "api, celery, celery-beat" in text


def test_an_unknown_option(shop: Shop, project: Path) -> None:
    assert "unknown key 'redy_path'" in refusal(shop, project, service_options={"api": {"redy_path": "/"}})


def test_a_published_port_that_is_not_handed_over(shop: Shop, project: Path) -> None:
    spoil(
        project,
        lambda s: s["api"].update(ports=[{"mode": "ingress", "target": 8000, "published": "8000", "protocol": "udp"}]),
    )
    assert "publishes port 8000 to the outside" in refusal(shop, project)


def test_a_container_name(shop: Shop, project: Path) -> None:
    spoil(project, lambda s: s["api"].update(container_name="backend"))
    assert "container_name: backend" in refusal(shop, project)


def test_an_image_that_is_not_there(shop: Shop, project: Path) -> None:
    spoil(project, lambda s: s["api"].update(image="evenkeel/nowhere:1"))
    assert "evenkeel/nowhere:1 is not on this host" in refusal(shop, project)


def test_no_nginx_for_a_web_service(shop: Shop, project: Path) -> None:
    spoil(project, lambda s: (s.pop("nginx"), s["api"].update(stop_grace_period="41s")))
    assert "no running nginx was found" in refusal(shop, project)


def test_a_proxy_that_is_none(shop: Shop, project: Path) -> None:
    assert "nginx -T failed" in refusal(shop, project, proxy_service="redis")


def test_an_nginx_configuration_that_cannot_be_read(shop: Shop, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The running nginx is left alone: what it prints is changed on its way instead.
    described = proxy_routes.Nginx.described
    lua = "server { location / { content_by_lua_block { ngx.say('}') } } }\n"
    monkeypatch.setattr(
        proxy_routes.Nginx, "described", lambda self: described(self).replace("server {", lua + "server {", 1)
    )
    assert "cannot be read safely: content_by_lua_block" in refusal(shop, project)


def test_an_nginx_configuration_that_cannot_be_steered(
    shop: Shop, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed(monkeypatch, "fastcgi_pass api:8000;")
    spoil(project, lambda s: s["api"].update(stop_grace_period="41s"))
    assert "reaches api by fastcgi_pass, which this version cannot steer" in refusal(shop, project)


def test_a_name_that_is_asked_for_again_without_root_or_nft(
    shop: Shop, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed(monkeypatch, "set $upstream http://api:8000; proxy_pass $upstream;")
    monkeypatch.setattr(firewall, "unavailable", lambda: "nft missing on this host; install nftables and util-linux")
    spoil(project, lambda s: s["api"].update(stop_grace_period="41s"))
    text = refusal(shop, project)
    assert "resolves api again while it runs" in text and "nft missing on this host" in text


def test_what_cannot_be_steered_and_is_as_wanted_is_left_alone(
    shop: Shop, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed(monkeypatch, "fastcgi_pass api:8000;")
    result = roll({"project_src": str(project), "state_dir": str(shop.folder / "state")}, False)
    assert result["changed"] is False


def printed(monkeypatch: pytest.MonkeyPatch, passing: str) -> None:
    """Let nginx print another directive than it has."""
    described = proxy_routes.Nginx.described
    monkeypatch.setattr(
        proxy_routes.Nginx, "described", lambda self: described(self).replace("proxy_pass http://api:8000;", passing)
    )


def test_more_memory_than_there_is(shop: Shop, project: Path) -> None:
    reserve = {"resources": {"reservations": {"memory": str(512 * 1024**3)}}}
    spoil(project, lambda s: s["api"].update(deploy=reserve))
    text = refusal(shop, project)
    assert "reserves 524,288 MiB" in text


def test_no_engine(shop: Shop, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    assert "no Docker engine answers" in refusal(shop, project)


def test_no_permission_on_the_socket(shop: Shop, project: Path) -> None:
    script = (
        "from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.project import connect\n"
        "try: connect('/')\nexcept Exception as error: print(error)\n"
    )
    # Code that another user can read, since the checkout may lie in a private folder.
    folder = Path("/tmp") / f"{shop.name}-code"
    shutil.copytree(Path(__file__).parents[2] / "plugins", folder / "ansible_collections/evenkeel/deploy/plugins")
    try:
        done = subprocess.run(
            [os.path.realpath(shutil.which("python3", path="/usr/bin:/bin") or sys.executable), "-c", script],
            env={"PYTHONPATH": f"{folder}:{sdk_folder()}", "PATH": os.environ["PATH"]},
            user="nobody",
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(folder)
    assert "no permission on the Docker socket" in done.stdout, done.stdout + done.stderr


def sdk_folder() -> str:
    """Where the Docker SDK lies."""
    import docker

    return str(Path(docker.__file__).parents[1])


@pytest.mark.parametrize(("what", "version"), [(Engine, "19.03.15"), (Compose, "2.20.3")])
def test_an_engine_or_compose_that_is_too_old(
    shop: Shop, project: Path, monkeypatch: pytest.MonkeyPatch, what: type, version: str
) -> None:
    monkeypatch.setattr(what, "version", lambda self: version)
    assert f"{version} is too old" in refusal(shop, project)


def test_a_full_disk_for_the_state(shop: Shop, project: Path) -> None:
    state = shop.folder / "full"
    state.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "evenkeel-bed", str(state)])
    try:
        with pytest.raises(OSError, match="No space left"):
            (state / "ballast").write_bytes(b"x" * 1024 * 1024)
        assert "No space left" in refusal(shop, project, state_dir=str(state))
    finally:
        run(["umount", str(state)])


def test_a_missing_env_file_and_a_bad_version_are_named_by_the_playbook(shop: Shop, project: Path) -> None:
    secrets = shop.root / "shared/.env"
    away = secrets.with_suffix(".away")
    secrets.rename(away)
    try:
        play = shop.update("v1")
    finally:
        away.rename(secrets)
    assert play.returncode != 0
    assert "shared/.env is not there" in play.message
    assert "has no branch, tag or commit v77" in shop.update("v77").message
    assert "no git branch, tag or commit" in shop.update("--upload-pack=touch /tmp/x").message
    for play in (
        shop.update("v1", app_repo="https://127.0.0.1:9/shop.git"),
        shop.update("v1", app_owner="nobody-here"),
    ):
        assert play.returncode != 0
        assert "Next: " in play.message
        assert "Traceback" not in play.output
