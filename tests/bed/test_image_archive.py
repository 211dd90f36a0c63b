# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back is in a file: by itself with the real engine, then on a server on which somebody prunes everything."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.files import write_private
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.secret_values import MARK
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.image_archive import call as keep_archive
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.definition import GENERATED
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import working
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import image_archive
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.bed.server import Server
from tests.bed.shop import LABEL, run

OLD, NEW = "20261120T080000Z-aaaaaaa", "20261120T090000Z-bbbbbbb"


@pytest.fixture
def app(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An app with two releases, of which the older one's image is of random bytes (4 MiB), with two names."""
    names = [f"evenkeel-archived-{os.getpid()}-{service}:aaaaaaa" for service in ("api", "worker")]
    with tarfile.open(tmp_path / "tree.tar", "w") as tree:
        for number in range(getattr(request, "param", 4)):
            (tmp_path / "bytes").write_bytes(os.urandom(2**20))
            tree.add(tmp_path / "bytes", f"file{number}")
    run(["docker", "import", "--change", f"LABEL {LABEL}=archived", str(tmp_path / "tree.tar"), names[0]])
    run(["docker", "tag", *names])
    root = tmp_path / "srv"
    for release, images in ((OLD, names), (NEW, [])):
        (root / "releases" / release / ".evenkeel").mkdir(parents=True)
        project = {MARK: {}, "name": "archived", "services": {name: {"image": name} for name in images}}
        (root / "releases" / release / GENERATED).write_text(json.dumps(project))
        manifest = {"id": release, "revision": release[-7:], "state": "verified", "verified": 1.0}
        write_private(str(root / "releases" / release / ".evenkeel/manifest.json"), json.dumps(manifest))
    os.symlink(f"releases/{NEW}", root / "current")
    try:
        yield root
    finally:
        for name in run(
            ["docker", "images", "--filter", f"label={LABEL}=archived", "--format", "{{.Repository}}:{{.Tag}}"]
        ).split():
            run(["docker", "rmi", name])


def test_an_image_that_is_gone_comes_back_from_its_file(app: Path) -> None:
    params: dict[str, Any] = {"path": str(app), "policy": "always"}
    assert keep_archive(params, True)["changed"]
    told = keep_archive(params, False)
    (written,) = told["archived"]
    assert told["release"] == OLD and told["changed"] and written["bytes"] > 4 * 2**20, told
    assert not keep_archive(params, False)["changed"]
    tree, engine = str(app / "releases" / OLD), Engine()
    run(["docker", "rmi", *written["names"]])
    assert engine.image(written["image"]) == {}
    (file,) = (app / "releases" / OLD / ".evenkeel/images").glob("*.tar.gz")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1000])
    with pytest.raises(BadInput, match="is damaged"):
        image_archive.in_archive(tree, written["names"])
    file.write_bytes(whole)
    began = time.monotonic()
    with working(LockOptions(), str(app / ".evenkeel"), "compose_build of archived") as fence:
        image_archive.bring_back(engine, image_archive.in_archive(tree, written["names"][:1]), fence)
    assert {str(engine.image(name).get("Id")) for name in written["names"]} == {written["image"]}
    print(
        f"\nevidence: {written['bytes'] / 1e6:.0f} MB written in {written['seconds']} s, loaded in {time.monotonic() - began:.1f} s"
    )
    assert not keep_archive(params, False)["changed"]
    # A file that lies about its sum holds nothing that the engine takes.
    file.write_bytes(b"x" * len(whole))
    known = image_archive.Archive(tree).files()[file.name]
    image_archive.Archive(tree).note(file.name, {**known, "sha256": image_archive.checksum(str(file))})
    run(["docker", "rmi", *written["names"]])
    with (
        working(LockOptions(), str(app / ".evenkeel"), "compose_build of archived") as fence,
        pytest.raises(BadInput, match="cannot be loaded"),
    ):
        image_archive.bring_back(engine, image_archive.in_archive(tree, written["names"]), fence)


def writers(app: Path) -> list[int]:
    """The processes that have a file of an archive open that is not whole yet."""
    found = []
    for process in (p for p in Path("/proc").iterdir() if p.name.isdigit()):
        with contextlib.suppress(OSError):
            opened = [os.readlink(handle) for handle in (process / "fd").iterdir()]
            if any(path.startswith(f"{app}/") and path.endswith(".part") for path in opened):
                found.append(int(process.name))
    return found


def until(met: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("app", [96], indirect=True)
def test_nobody_waits_for_it_and_a_killed_writer_is_made_up_for(app: Path) -> None:
    params: dict[str, Any] = {"path": str(app), "policy": "always", "wait": False}
    folder = app / "releases" / OLD / ".evenkeel/images"
    told = keep_archive(params, False)
    assert told["changed"] and told["later"] and "in the background" in told["msg"] and not list(folder.glob("*.gz"))
    until(lambda: writers(app))
    (writer,) = writers(app)
    assert os.getpriority(os.PRIO_PROCESS, writer) == 19 and os.getsid(writer) != os.getsid(0)
    assert not keep_archive(params, False)["changed"]
    assert image_archive.is_being_written(Store(str(app)), str(app / ".evenkeel"), OLD)
    os.kill(writer, signal.SIGKILL)
    until(lambda: not writers(app))
    assert list(folder.glob("*.part")) and not image_archive.is_being_written(
        Store(str(app)), str(app / ".evenkeel"), OLD
    )
    assert keep_archive(params, False)["changed"]
    until(lambda: list(folder.glob("*.gz")))
    until(lambda: not writers(app))
    assert not list(folder.glob("*.part"))
    told = keep_archive(params, False)
    assert not told["changed"] and not told["later"] and "and in an archive of" in told["msg"]


QUICK = {"app_services": {"api": {"monitor": 0.5, "prove_seconds": 0.5}, "celery": {"monitor": 0.5}}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("archive", variables=QUICK) as made:
        for version in ("v1", "v2"):
            play = made.update(version)
            assert play.returncode == 0, play.output[-4000:]
        yield made


def archives(server: Server) -> list[str]:
    """The files of all archives on the server, each with its mode and size."""
    find = "find /srv/travel/releases -path '*/.evenkeel/images/*' -printf '%m %s %p\\n'"
    return sorted(server.engine.exec("sh", "-c", find).splitlines())


def packed(server: Server) -> list[str]:
    return [line for line in archives(server) if line.endswith(".tar.gz")]


def test_without_room_the_update_is_good_and_says_it(server: Server) -> None:
    assert archives(server) == []
    # A file system of its own over the releases, with what is there copied into it.
    copy = "cp -a /srv/travel/releases/. /mnt/ && mount --move /mnt /srv/travel/releases"
    server.engine.exec("sh", "-c", f"mount -t tmpfs -o size=200m tmpfs /mnt && {copy}")
    try:
        play = server.update("v2", app_image_archive="auto")
        said = play.flat
        assert play.returncode == 0 and "they are not archived: " in said, play.output[-3000:]
        assert "MiB are free, the images have" in said and archives(server) == []
    finally:
        server.engine.exec("umount", "/srv/travel/releases")
    assert (server.version(), server.leftovers()) == ("v2", [])


def test_pruned_of_everything_it_goes_back_without_git_registry_or_build(server: Server) -> None:
    play = server.update("v2", app_image_archive="auto")
    assert play.returncode == 0 and "is written in the background" in play.flat, play.output[-3000:]
    until(lambda: packed(server))
    (line,) = packed(server)
    mode, size, path = line.split(" ", 2)
    assert mode == "600" and not [x for x in archives(server) if ".part" in x]
    assert server.update("v2", app_image_archive="auto").changed == 0
    server.engine.docker("system", "prune", "--all", "--force")
    server.engine.exec("mv", "/srv/git", "/srv/away")
    server.engine.exec("mv", "/srv/travel/mirror.git", "/srv/mirror-away")
    names = server.engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    before = server.containers()
    server.engine.exec("sh", "-c", f"cp -p {path} /srv/whole && printf x | dd of={path} bs=1 seek=4096 conv=notrunc")
    refused = server.rollback()
    assert refused.returncode != 0 and "is damaged" in refused.message and "update_version" in refused.message
    assert (server.containers(), server.version()) == (before, "v2"), refused.output[-3000:]
    server.engine.exec("cp", "-p", "/srv/whole", path)
    with server.load() as load:
        back = server.rollback(app_image_archive="auto")
        assert back.returncode == 0, back.output[-5000:]
        result = load.stop()
    result = server.judged(result)
    assert result.failed_beyond_race == 0, [*map(json.dumps, result.failures[:5])]
    assert (server.version(), server.leftovers()) == ("v1", [])
    assert "loaded from the archive" in back.output
    # Nobody goes back to what was left as bad.
    assert packed(server) == []
    print(
        f"\nevidence: pruned of all but {len(names)} images, back from an archive of {int(size) / 1e6:.0f} MB in "
        f"{back.seconds:.0f} s: {result.total:,} requests, {result.failed_beyond_race} failed"
    )
