# SPDX-License-Identifier: GPL-3.0-or-later
"""What images are built from: all of the revision, and nothing that is generated in a release or is the server's own."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.secret_values import MARK
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.command_line import CLEAN_LABEL
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.host import build as build_build
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.options import ProjectOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions

SECRET = "s3cret-Of-This-Server"
# Keeps what it would have built from, and how it was called.
DOCKER = """#!/bin/sh
here=$(dirname "$0")
for last; do :; done
case $last in
    *..) ;;
    */releases/2026* | */state/build/*) /bin/cp -a "$last" "$here/seen/$(/bin/ls "$here/seen" | /usr/bin/wc -l)" ;;
esac
printf '%s\\n' "$*" >> "$here/calls"
exit ${STATUS:-0}
"""


class NoImages:
    def image(self, _name: str) -> dict[str, str]:
        return {}

    def containers(self, _labels: Mapping[str, str]) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A release after a hotfix of its environment: the tree of the revision, and secrets in five other files."""
    tree = tmp_path / "srv/releases/20261120T080000Z-aaaaaaa"
    for path, text in {
        "Dockerfile": "COPY . /app\n",
        ".dockerignore": ".env*\n",
        "src/manage.py": "code",
        "web/Dockerfile": "COPY . /web\n",
        ".evenkeel.compose.yaml": "services: {}\n",
        ".evenkeel.compose.override.yml": "services: {}\n",
        # Generated, or the server's own.
        ".env": f"SECRET_KEY={SECRET}\n",
        "web/.env": f"SECRET_KEY={SECRET}\n",
        "web/.evenkeel-x7d9": f"SECRET_KEY={SECRET}\n",
        ".evenkeel/env-after": f"SECRET_KEY={SECRET}\n",
        ".evenkeel/manifest.json": json.dumps({"shared": [".env", "web/.env", "media"]}),
        ".evenkeel-k2": SECRET,
        "compose.yaml": "",
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / "media").symlink_to("../../shared/media")
    (tree / "latest").symlink_to("src")
    (tree / "broken").symlink_to("nowhere")
    (tree / "src/run.sh").write_text("#!/bin/sh\n")
    (tree / "src/run.sh").chmod(0o755)
    os.utime(tree / "src/manage.py", (1, 1_000_000_000))
    os.utime(tree / "src", (1, 1_100_000_000))
    (tree / ".evenkeel.compose.yaml").chmod(0o600)
    return tree


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    (folder / "seen").mkdir(parents=True)
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(build_build, "limit_builds", lambda _engine, _memory: "/group")
    return folder


def build(tree: Path, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """Have images built that are missing, as role update does for a release."""
    services = {name: {"image": f"{name}:1", "build": section} for name, section in sections.items()}
    project = {"name": "shop", "services": services, MARK: {"release": tree.name}}
    for one in services.values():
        one["environment"] = {"SECRET_KEY": SECRET}
    (tree / "compose.yaml").write_text(json.dumps(project))
    (tree.parents[2] / "state/logs").mkdir(parents=True, exist_ok=True)
    request = build_build.Request(ProjectOptions(str(tree)), LockOptions())
    return build_build.build_missing(request, NoImages(), project, str(tree.parents[2] / "state/logs"))  # type: ignore[arg-type]


def seen(bin_folder: Path, number: int = 0) -> dict[str, str]:
    """Path → content of what the image of that number would have been built from; of a link where it leads."""
    top = bin_folder / "seen" / str(number)
    paths = [p for p in sorted(top.rglob("*")) if p.is_symlink() or p.is_file()]
    return {str(p.relative_to(top)): os.readlink(p) if p.is_symlink() else p.read_text() for p in paths}


def test_no_secret_of_the_server_is_in_what_an_image_is_built_from(tree: Path, bin_folder: Path) -> None:
    build(tree, api={"context": str(tree)}, web={"context": f"{tree}/web", "dockerfile": "Dockerfile"})
    assert SECRET not in str([seen(bin_folder), seen(bin_folder, 1)])
    assert sorted(seen(bin_folder, 1)) == ["Dockerfile"]


def test_all_of_the_revision_is_in_it_under_its_own_names(tree: Path, bin_folder: Path) -> None:
    build(tree, api={"context": str(tree)})
    assert seen(bin_folder) == {
        "Dockerfile": "COPY . /app\n",
        ".dockerignore": ".env*\n",
        "src/manage.py": "code",
        "src/run.sh": "#!/bin/sh\n",
        "web/Dockerfile": "COPY . /web\n",
        "compose.yaml": "services: {}\n",
        "compose.override.yml": "services: {}\n",
        "latest": "src",
        "broken": "nowhere",
    }
    top = bin_folder / "seen/0"
    modes = {name: stat.S_IMODE((top / name).stat().st_mode) for name in ("src/run.sh", "compose.yaml", "src")}
    assert modes == {"src/run.sh": 0o755, "compose.yaml": 0o644, "src": stat.S_IMODE((tree / "src").stat().st_mode)}
    assert (top / "src/manage.py").stat().st_mtime == 1_000_000_000 and (top / "src").stat().st_mtime == 1_100_000_000


def test_whatever_else_of_the_tree_a_build_names_is_taken_from_there(tree: Path, bin_folder: Path) -> None:
    is_external = tree.parents[2] / "common"
    is_external.mkdir()
    build(
        tree,
        a={"context": f"{tree}/latest", "dockerfile": f"{tree}/web/Dockerfile"},
        b={
            "context": "https://git.example/x.git#main",
            "dockerfile": "deploy/Dockerfile",
            "additional_contexts": {"code": f"{tree}/src", "base": "docker-image://alpine", "common": str(is_external)},
        },
    )
    first, second = (bin_folder / "calls").read_text().splitlines()
    copy = first.split()[-1].removesuffix("/src")
    assert copy.startswith(f"{tree.parents[2]}/state/build/") and f"--file {copy}/web/Dockerfile" in first
    assert f"--build-context code={copy}/src" in second and str(tree) not in first + second
    assert "base=docker-image://alpine" in second and f"common={is_external}" in second
    assert second.endswith("https://git.example/x.git#main") and "--file deploy/Dockerfile" in second
    assert all(f"--label {CLEAN_LABEL}=clean" in call for call in (first, second))


def test_nothing_of_it_is_left_whether_the_build_succeeds_or_not(
    tree: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tree, api={"context": str(tree)})
    assert list((tree.parents[2] / "state/build").iterdir()) == []
    monkeypatch.setenv("STATUS", "1")
    with pytest.raises(BadInput, match="does not build"):
        build(tree, api={"context": str(tree)})
    assert list((tree.parents[2] / "state/build").iterdir()) == []
    assert stat.S_IMODE((tree.parents[2] / "state/build").stat().st_mode) == 0o700


def test_what_a_killed_run_left_goes_but_for_what_its_build_still_reads(tree: Path, bin_folder: Path) -> None:
    folder = tree.parents[2] / "state/build"
    for name in ("dead", "read"):
        (folder / name / "tree").mkdir(parents=True)
        (folder / name / "lock").touch()
    (folder / "begun").mkdir()
    with open(folder / "read/lock", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        build(tree, api={"context": str(tree)})
    assert [path.name for path in folder.iterdir()] == ["read"]


@pytest.mark.parametrize("context", ["{0}/..", "{0}/../..", "{0}/../../.."])
def test_a_folder_around_the_releases_is_no_context(tree: Path, bin_folder: Path, context: str) -> None:
    with pytest.raises(BadInput, match="a folder around the releases of this host"):
        build(tree, api={"context": context.format(tree)})
    assert not (bin_folder / "calls").exists()


def test_who_writes_in_the_tree_leads_the_copy_nowhere(tree: Path, bin_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text(SECRET)
    (tree / "src/link").symlink_to(tmp_path / "shadow")
    (tree / "src/folder").symlink_to(tmp_path)
    build(tree, api={"context": str(tree)})
    assert seen(bin_folder)["src/link"] == str(tmp_path / "shadow") and seen(bin_folder)["src/folder"] == str(tmp_path)
    os.mkfifo(tree / "src/pipe")
    with pytest.raises(BadInput, match=r"cannot be copied for its build: pipe: it is no file, folder or link"):
        build(tree, api={"context": str(tree)})


def test_a_folder_that_is_no_release_is_built_from_as_it_is(bin_folder: Path, tmp_path: Path) -> None:
    project = {"name": "own", "services": {"api": {"image": "api:1", "build": {"context": str(tmp_path / "own")}}}}
    (tmp_path / "own").mkdir()
    request = build_build.Request(ProjectOptions(str(tmp_path / "own")), LockOptions())
    build_build.build_missing(request, NoImages(), project, str(tmp_path))  # type: ignore[arg-type]
    call = (bin_folder / "calls").read_text()
    assert call.rstrip().endswith(str(tmp_path / "own")) and CLEAN_LABEL not in call
