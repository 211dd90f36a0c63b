# SPDX-License-Identifier: GPL-3.0-or-later
"""A project whose database is an external server, reached through a network of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bed.backup_stack import PASSWORD, Stack, eventually
from tests.bed.django_stack import FILES
from tests.bed.shop import BEDS, LABEL, WORKER, run
from tests.database.migrations.versions import django_site

NAME = f"evenkeel-managed-{WORKER}"
SERVER, NETWORK, HOST, OLD = f"{NAME}-server", f"{NAME}-provider", "db.provider.test", f"{NAME}-client:15"
IMAGE = "evenkeel/postgres:17"
# A registry that there is never.
NOWHERE = "registry.invalid/postgres:17"
SETTINGS = FILES["settings.py"].replace('"USER": "postgres", "HOST": "db"', f'"USER": "shop", "HOST": "{HOST}"')
# What is not a superuser's, as with any provider.
ROLE = f"CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}'; ALTER DATABASE shop OWNER TO shop;"
SCHEMA = """
CREATE EXTENSION pg_trgm;
CREATE TABLE orders (id bigserial PRIMARY KEY, reference text NOT NULL, note text);
INSERT INTO orders (reference, note) SELECT md5(n::text), 'never-told-row' FROM generate_series(1, 20000) n;
CREATE TABLE django_migrations (id serial PRIMARY KEY, app text, name text, applied timestamptz DEFAULT now());
INSERT INTO django_migrations (app, name) VALUES ('shop', '0001_initial');
CREATE TABLE shop_item (id bigserial PRIMARY KEY, note text);
"""


class Managed(Stack):
    """A project without a database, and a server that another network has."""

    def __init__(self) -> None:
        self.folder = BEDS / NAME
        self.dest = self.folder / "backups"
        self.password = PASSWORD

    def write(self, **services: Any) -> None:
        """Write the project; ``services`` are further ones."""
        for name, text in {**FILES, "settings.py": SETTINGS}.items():
            path = self.folder / "app" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        api = {
            "image": "evenkeel/python:3.13", "working_dir": "/app", "entrypoint": ["sh", "-c", "touch /app/entrypoint-ran"],
            "environment": {"DB_PASSWORD": self.password, "PYTHONPATH": "/site", "PYTHONDONTWRITEBYTECODE": "1"},
            "volumes": [f"{self.folder}/app:/app", f"{django_site('5.2')}:/site:ro"],
            "labels": {LABEL: NAME}, "networks": ["provider"],
        }  # fmt: skip
        networks = {"provider": {"external": True, "name": NETWORK}}
        project = {"name": NAME, "services": {"api": api, **services}, "networks": networks}
        (self.folder / "compose.yaml").write_text(json.dumps(project))

    def begin_server(self) -> None:
        run(["docker", "network", "create", "--label", f"{LABEL}={NAME}", NETWORK])
        run(
            ["docker", "run", "-d", "--name", SERVER, "--label", f"{LABEL}={NAME}", "--network", NETWORK, "--network-alias", HOST,
             "-e", "POSTGRES_PASSWORD=provider-only", "-e", "POSTGRES_DB=shop", "-p", "127.0.0.1::5432",
             "--tmpfs", "/var/lib/postgresql/data", IMAGE]
        )  # fmt: skip
        ready = ["docker", "exec", SERVER, "pg_isready", "-q", "-h", "127.0.0.1"]
        assert eventually(lambda: os.spawnvp(os.P_WAIT, "docker", ready) == 0, 60.0)
        self.sql(ROLE, "postgres")
        self.sql(SCHEMA)

    def sql(self, statement: str, user: str = "shop") -> str:
        psql = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", "shop"]
        return run(["docker", "exec", "-i", SERVER, *psql], input=statement).strip()

    def parameters(self, **more: Any) -> dict[str, Any]:
        own = {"django_service": "api", "client_image": IMAGE, "optional": True}
        return super().parameters(**{**own, **more})

    def throw_aways(self) -> list[str]:
        found = [["docker", "ps", "-aq", "--filter", f"label={kind}={NAME}"] for kind in KINDS]
        return [one for argv in found for one in run(argv).split()]

    @property
    def port(self) -> str:
        """Where the server listens on this machine."""
        return run(["docker", "port", SERVER, "5432"]).strip().splitlines()[0].rsplit(":", 1)[1]


KINDS = ("evenkeel.verify", "evenkeel.backup-client", "evenkeel.plan")


def remove() -> None:
    """Everything that has this bed's label."""
    own = f"label={LABEL}={NAME}"
    for listing, removal in ((["ps", "-aq"], ["rm", "-fv"]), (["network", "ls", "-q"], ["network", "rm"])):
        found = run(["docker", *listing, "--filter", own]).split()
        if found:
            run(["docker", *removal, *found])
    if run(["docker", "images", "-q", OLD]).strip():
        run(["docker", "rmi", "-f", OLD])
    shutil.rmtree(BEDS / NAME, ignore_errors=True)


@pytest.fixture(scope="module")
def managed() -> Iterator[Managed]:
    remove()
    made = Managed()
    made.write()
    try:
        made.begin_server()
        yield made
    finally:
        remove()


@pytest.fixture
def fresh(managed: Managed) -> Iterator[Managed]:
    """The server without a backup."""
    shutil.rmtree(managed.dest, ignore_errors=True)
    managed.password = PASSWORD
    managed.write()
    yield managed
    assert managed.throw_aways() == [] and managed.sessions() == 0
    assert not (managed.folder / "app/entrypoint-ran").exists()
