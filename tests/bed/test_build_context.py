# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret of the server is in any layer of an image, with the real Compose, BuildKit and engine: ``COPY . /app`` of a release."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_build import call as build_images
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_project import call as resolve
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.symlink_release import call as manage_release
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose, ComposeFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import environment
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.bed.front import docker
from tests.bed.shop import run

SECRET, CHANGED = "first-S3cret-Of-This-Server", "second-S3cret-Of-This-Server"
COMPOSE = """services:
  api:
    build: {context: ., labels: {evenkeel.bed: build-context}}
    command: ["true"]
    environment: {SECRET_KEY: "${SECRET_KEY}"}
  web:
    build: {context: ./web, labels: {evenkeel.bed: build-context}}
    command: ["true"]
"""


class Built:
    """An app whose image has the whole tree, brought to its releases by the modules in this process."""

    def __init__(self, folder: Path) -> None:
        self.root, self.state = folder / "srv", str(folder / "state")
        self.name = f"evenkeel-baked-{os.getpid()}"
        repo = folder / "repo"
        (repo / "web").mkdir(parents=True)
        for path, text in {
            "compose.yaml": COMPOSE,
            "Dockerfile": "FROM scratch\nCOPY . /app\n",
            ".dockerignore": ".env*\n**/.env*\n",
            "manage.py": "the code\n",
            "web/Dockerfile": "FROM scratch\nCOPY . /web\n",
        }.items():
            (repo / path).write_text(text)
        author = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        for words in (["init", "-q", "-b", "main"], ["add", "."], [*author, "commit", "-qm", "one"]):
            run(["git", "-C", str(repo), *words])
        (self.root / "shared/web").mkdir(parents=True)
        for path in (".env", "web/.env"):
            (self.root / "shared" / path).write_text(f"SECRET_KEY={SECRET}\n")
        wanted = {
            "path": str(self.root),
            "state": "present",
            "repo": str(repo),
            "version": "main",
            "state_dir": self.state,
        }
        self.release = manage_release({**wanted, "shared": [".env", "web/.env"]}, False)
        self.path = str(self.release["release_path"])

    def deploy(self, **more: Any) -> tuple[bool, bool]:
        """Make the release's project and images; returns whether each changed."""
        about = {"project_src": self.path, "project_name": self.name, "state_dir": self.state}
        places = {"mounts_dir": str(self.root / "mounts"), "data_dir": str(self.root / "shared")}
        made = resolve({**about, **places, "files": ["compose.yaml"], "env_files": [".env"],
                        "revision": self.release["revision"]}, False)  # fmt: skip
        self.images = sorted(made["images"].values())
        built = build_images({"project_src": self.path, "state_dir": self.state, **more}, False)
        return bool(made["changed"]), bool(built["changed"])

    def state_of_release(self) -> str:
        return str(json.loads(Path(self.path, ".evenkeel/manifest.json").read_text())["state"])

    def hashes(self) -> str:
        return run(["docker", "compose", "--project-directory", self.path, "config", "--hash", "*"], cwd=self.path)


def content_of(image: str, folder: Path) -> tuple[dict[str, bytes], bytes]:
    """Path → content of what an image's layers have, and all that was saved of it."""
    docker("save", "--output", str(folder / "image.tar"), image)
    found = {}
    with tarfile.open(folder / "image.tar") as saved:
        manifest = json.loads(saved.extractfile("manifest.json").read())  # type: ignore[union-attr]  # always a file
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=saved.extractfile(layer)) as entries:
                found.update({e.name: entries.extractfile(e).read() for e in entries if e.isfile()})  # type: ignore[union-attr]  # a file
    return found, (folder / "image.tar").read_bytes()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Built]:
    built = Built(tmp_path)
    try:
        yield built
    finally:
        docker("compose", "--project-name", built.name, "down", "--volumes")
        found = docker("images", "--all", "--quiet", "--filter", f"label=evenkeel.project={built.name}").split()
        if found:
            docker("rmi", "--force", *sorted(set(found)))


def test_no_layer_has_a_secret_of_the_server(app: Built, tmp_path: Path) -> None:
    assert app.state_of_release() == "preparing"
    assert app.deploy() == (True, True)
    assert app.state_of_release() == "built"
    # What serves is as little told to build again as any other: a second update changes nothing.
    hashes = app.hashes()
    assert (app.deploy(), app.hashes()) == ((False, False), hashes)
    # A hotfix of the environment leaves real files in its release until that is the current one.
    for path in (".env", "web/.env"):
        change = environment.Change(path, SECRET.encode(), f"SECRET_KEY={CHANGED}\n".encode(), ("SECRET_KEY",))
        environment.put_in(Store(str(app.root)), str(app.release["release"]), change)
    assert app.deploy(rebuild=True) == (True, True)
    assert CHANGED in Path(app.path, "compose.yaml").read_text()
    files: dict[str, bytes] = {}
    for image in app.images:
        found, whole = content_of(image, tmp_path)
        files.update(found)
        assert SECRET.encode() not in whole and CHANGED.encode() not in whole, image
    assert files == {
        "app/compose.yaml": COMPOSE.encode(),
        "app/Dockerfile": b"FROM scratch\nCOPY . /app\n",
        "app/.dockerignore": b".env*\n**/.env*\n",
        "app/manage.py": b"the code\n",
        "app/web/Dockerfile": b"FROM scratch\nCOPY . /web\n",
        "web/Dockerfile": b"FROM scratch\nCOPY . /web\n",
    }
    assert os.listdir(os.path.join(app.state, "build")) == []


def test_compose_builds_nothing_from_a_release_by_itself(app: Built, tmp_path: Path) -> None:
    app.deploy()
    # What the file says of contexts makes no difference to a container.
    project = Compose(app.path).resolved()
    assert project["services"]["web"]["build"]["context"] == f"{app.path}/web"
    (tmp_path / "as-written.json").write_text(json.dumps(project))
    written = ["--project-directory", app.path, "--file", str(tmp_path / "as-written.json")]
    assert run(["docker", "compose", *written, "config", "--hash", "*"], cwd=app.path) == app.hashes()
    identities = [Engine().image(name)["Id"] for name in app.images]
    for words in (["build"], ["up", "--detach", "--build"]):
        told = subprocess.run(["docker", "compose", *words], cwd=app.path, capture_output=True, text=True, check=False)
        assert told.returncode != 0 and "images-are-built-by-playbook-update" in told.stderr, words
    assert [Engine().image(name)["Id"] for name in app.images] == identities
    # Nor one that somebody has pruned: by hand, by a one-off of ours, by a job's definition.
    docker("rmi", *app.images)
    told = subprocess.run(
        ["docker", "compose", "up", "--detach"], cwd=app.path, capture_output=True, text=True, check=False
    )
    assert told.returncode != 0
    with pytest.raises(ComposeFailed, match="images-are-built-by-playbook-update"):
        Compose(app.path).run("run", "--rm", "-T", "--no-deps", "web")
    with pytest.raises(ComposeFailed, match="images-are-built-by-playbook-update"):
        Compose(app.path).run_by(project, "run", "--rm", "-T", "--no-deps", "web")
    assert not [name for name in app.images if Engine().image(name)]
    # An update builds them anew, and nothing else has changed.
    assert app.deploy() == (False, True)
