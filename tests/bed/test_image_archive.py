# SPDX-License-Identifier: GPL-3.0-or-later
"""A server on which somebody prunes everything, with git and registry out of reach: the way back is in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.bed.server import Server

pytestmark = pytest.mark.matrix
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
        assert play.returncode == 0 and "they are not archived: " in play.output, play.output[-3000:]
        assert "MiB are free, the images have" in play.output and archives(server) == []
    finally:
        server.engine.exec("umount", "/srv/travel/releases")
    assert (server.version(), server.leftovers()) == ("v2", [])


def test_pruned_of_everything_it_goes_back_without_git_registry_or_build(server: Server) -> None:
    play = server.update("v2", app_image_archive="auto")
    assert play.returncode == 0 and "and in an archive of" in play.output, play.output[-3000:]
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
    result = result.judged_by(server.engine.docker("logs", server.nginx()))
    assert result.failed_beyond_race == 0, [*map(json.dumps, result.failures[:5])]
    assert (server.version(), server.leftovers()) == ("v1", [])
    assert "loaded from the archive" in back.output
    # Nobody goes back to what was left as bad.
    assert packed(server) == []
    print(
        f"\nevidence: pruned of all but {len(names)} images, back from an archive of {int(size) / 1e6:.0f} MB in "
        f"{back.seconds:.0f} s: {result.total:,} requests, {result.failed_beyond_race} failed"
    )
