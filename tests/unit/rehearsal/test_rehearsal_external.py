# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of an app whose database is elsewhere before anything of its rehearsal is started."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host import (
    external_database as backup_external_database,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.external_database import (
    ExternalDatabase,
    ExternalDatabaseOptions,
    Wanted,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.source import Source
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.store import BackupStore
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.options import ProjectOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.progress import Progress
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres import external_database, substitute_database
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.server import PostgresFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal.host import rehearse
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal.host import view as rehearsal_view
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal.host.request import Request
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal.host.view import looked, stage_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal.rehearsal import Limits

HOST = "db-1.provider.example.com"
PROJECT = {
    "name": "shop",
    "services": {
        "api": {"image": "shop-api", "environment": {"DATABASE_URL": f"postgres://shop:real-secret@{HOST}:25060/shop"}},
        "redis": {"image": "redis:8", "environment": {}},
    },
    "networks": {"default": {"name": "shop_default"}},
}


class Engine:
    """An engine with the app's images, and the client's once it was pulled."""

    def __init__(self) -> None:
        self.images = {"shop-api", "redis:8"}

    def image(self, name: str) -> dict[str, Any]:
        return {"Id": f"sha256:{name}", "Config": {"Env": ["PATH=/bin"]}} if name in self.images else {}

    def containers(self, _labels: object) -> list[dict[str, Any]]:
        return []

    def info(self) -> dict[str, Any]:
        return {"DockerRootDir": "/"}


class Server:
    """An app on a server, its database elsewhere, one backup of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine, self.folder, self.pulled = Engine(), folder, 0
        self.places = {"": substitute_database.Place(HOST, "25060")}
        compose = SimpleNamespace(project_src=str(folder), resolved=lambda: PROJECT)
        monkeypatch.setattr(rehearsal_view, "compose_of", lambda project_options: compose)
        monkeypatch.setattr(rehearsal_view, "connect", lambda source: self.engine)
        monkeypatch.setattr(rehearsal_view, "prepare", lambda asked, planning: SimpleNamespace(targets=[]))
        monkeypatch.setattr(rehearsal_view, "source_of", self.source_of)
        monkeypatch.setattr(backup_external_database, "pull", self.pull)
        store = BackupStore(str(folder / "backups"), ("shop", f"{HOST}:25060", "shop"))
        store.make()
        with store.part("shop-20261120T084911Z.dump", 0) as part:
            part.write(b"PGDMP")
            part.keep(
                {
                    "started_at": 1.0,
                    "bytes": 5,
                    "proven": "read",
                    "database_size": 7,
                    "database": "shop",
                    "preload": "theirs",
                }
            )

    def pull(self, engine: Any, reference: str, timeout: float) -> None:
        self.pulled += 1
        if reference.startswith("registry.invalid"):
            raise EngineFailed("no such host")
        self.engine.images.add(reference)

    def source_of(self, wanted: Wanted) -> Source:
        assert wanted.django_service == "api" and wanted.rehearses
        known = external_database.Connection(HOST, "25060", "shop", "shop", "real-secret")
        image = wanted.external.client_image or "postgres:17"
        other = ExternalDatabase(known, image, external_database.Reach(), 60.0, False, self.places[wanted.database])
        engine: Any = self.engine
        return Source(engine, "shop", known.place, {}, other.server, {}, other)

    def request(self, **more: Any) -> Request:
        return Request(ProjectOptions(str(self.folder)), LockOptions(str(self.folder / "state")), service="api",
                       dest=str(self.folder / "backups"), timeout=60.0, **more)  # fmt: skip


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(tmp_path, monkeypatch)


def test_its_server_stands_in_by_name_and_port_and_without_what_its_provider_preloads(server: Server) -> None:
    view = looked(server.request(), False)
    assert view is not None and server.pulled == 0
    assert (view.database, view.superuser, view.brokers) == (
        substitute_database.SERVICE,
        substitute_database.SUPERUSER,
        ["redis"],
    )
    (copy,) = view.copies
    assert copy.backup is not None and copy.size == 7
    fence: Any = None
    stage, withheld = stage_of(view, server.request(), fence, Limits(2**29), 0, Progress())
    assert server.pulled == 1 and withheld == []
    services = stage.definition["services"]
    assert set(services) == {"api", "redis", substitute_database.SERVICE}
    database = services[substitute_database.SERVICE]
    assert database["image"] == "sha256:postgres:17" and HOST in database["networks"]["scratch"]["aliases"]
    assert database["environment"]["PGPORT"] == "25060" and "theirs" not in str(database)
    assert (
        "real-secret" not in str(stage.definition)
        and f"@{HOST}:25060/shop" in services["api"]["environment"]["DATABASE_URL"]
    )
    # By its own health alone: the image's port is not where it listens.
    assert stage.images[substitute_database.SERVICE] == {}


def test_several_servers_and_an_image_that_cannot_be_had_are_refused(server: Server) -> None:
    server.places["other"] = substitute_database.Place("other.example.com")
    with pytest.raises(BadInput, match="on different servers"):
        looked(server.request(databases=("", "other")), False)
    external = ExternalDatabaseOptions(client_image="registry.invalid/postgres:17")
    view = looked(server.request(external=external), False)
    fence: Any = None
    assert view is not None
    with pytest.raises(BadInput, match="cannot be pulled"):
        stage_of(view, server.request(external=external), fence, Limits(2**29), 0, Progress())


def test_an_extension_that_the_image_lacks_is_told_with_what_to_set(server: Server) -> None:
    view = looked(server.request(), True)
    assert view is not None and server.pulled == 0
    lacking = PostgresFailed("pg_restore ended with exit code 1", 'ERROR:  extension "postgis" is not available')
    assert "client_image" in rehearse.image_advice(view, lacking)
    assert rehearse.image_advice(view, PostgresFailed("no")) == ""
