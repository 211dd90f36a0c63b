# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container with PostgreSQL's programs, for as long as a server that is elsewhere is worked with.

It sleeps; programs are run in it as in the container of a server, and get the password as those do: by the environment of each
one, and so in nothing that the engine keeps of the container.  It has no rights, and reaches what the app reaches.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from ...engine.confined import NO_NEW_PRIVILEGES, OF_POSTGRES
from ...engine.host.engine import Engine
from ..external_database import FOLDER, Reach

LABEL = "evenkeel.backup-client"
# Seconds after which one that a kill has left ends by itself.
_AT_LEAST = 24 * 3600


def sweep(engine: Engine, project: str) -> None:
    """Take away what a killed run left."""
    engine.remove_labelled(f"{LABEL}={project}", lambda name: False)


@contextlib.contextmanager
def client(
    engine: Engine, project: str, image: str, reach: Reach, files: Mapping[str, str], timeout: float
) -> Iterator[dict[str, Any]]:
    """Its inspection, while it is there.

    :param files: what certificates and keys hold, by their names in ``/evenkeel-tls``.
    :param timeout: seconds that a single program may take.
    :raises EngineFailed: it cannot be started.
    """
    name = f"{project}-backup-client-{uuid.uuid4().hex[:12]}"
    host = {
        "NetworkMode": reach.networks[0],
        "AutoRemove": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": [NO_NEW_PRIVILEGES],
        "PidsLimit": OF_POSTGRES,
        # Production comes first.
        "CpuShares": 128,
        "ExtraHosts": list(reach.hosts),
        "Dns": list(reach.dns),
        "DnsSearch": list(reach.dns_search),
        "Binds": list(reach.binds),
    }
    configuration = {
        "Image": image,
        "Entrypoint": ["sleep"],
        "Cmd": [str(max(_AT_LEAST, int(6 * timeout)))],
        # Whose files of mode 0600 the key is.
        "User": "0:0",
        "Labels": {LABEL: project},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }
    made = engine.create(name, configuration, reach.networks[1:], {"/": archive_of(files)} if files else {}, start=True)
    try:
        yield engine.inspect(made)
    finally:
        engine.remove_labelled(f"{LABEL}={project}", lambda other: other != name)


def archive_of(files: Mapping[str, str]) -> bytes:
    """Files that only root reads, in a folder that only root enters, as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo(FOLDER)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(folder)
        for name, text in sorted(files.items()):
            data = text.encode()
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
