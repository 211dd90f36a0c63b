# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app's Django tells of its database, and that no log ever has its password."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.django.inside import connection
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import app_script

PASSWORD = "never-told-2230"
APP = {"host": "db.example.com", "port": "6432", "user": "shop", "dbname": "shop", "sslmode": "require"}


class FakeConnection:
    """A database of Django's, whose driver knows a password that no setting has."""

    vendor = "postgresql"

    def __init__(self, parameters: dict[str, Any], password: str = PASSWORD, fails: bool = False) -> None:
        self.settings_dict = {"NAME": parameters.get("dbname") or parameters.get("database")}
        self._parameters, self._fails = parameters, fails
        info = {"host": "never-asked", "port": 5432, "user": "u", "dbname": "d", "password": password}
        self.connection = SimpleNamespace(info=SimpleNamespace(**info, server_version=170006))

    def get_connection_params(self) -> dict[str, Any]:
        return {"cursor_factory": object, "context": None, "prepare_threshold": None, **self._parameters}

    def ensure_connection(self) -> None:
        if self._fails:
            raise OSError(f"could not connect with {PASSWORD}")


@pytest.fixture
def django(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A Django whose databases a test chooses."""
    known: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "django", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "django.db", SimpleNamespace(connections=known))
    for variable in ("PGHOST", "PGPORT", "PGPASSWORD", "PGUSER"):
        monkeypatch.delenv(variable, raising=False)
    yield known


def asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database: str = "") -> dict[str, Any]:
    """What the script tells, unsealed as the host does it."""
    pad = b"\x5a" * 4096
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{pad.hex()}\n"))
    connection.main(database)
    printed = capsys.readouterr().out
    assert PASSWORD not in printed
    told = app_script.answer_in(printed)
    assert told is not None
    sealed = bytes.fromhex(told.get("sealed", ""))
    return {**told, "secret": json.loads(bytes(a ^ b for a, b in zip(sealed, pad)) or b"{}")}


def test_a_password_is_printed_under_a_key(
    django: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("CA")
    django["default"] = FakeConnection({**APP, "port": 6432, "password": PASSWORD, "sslrootcert": str(authority)})
    django["other"] = FakeConnection({"database": "orders", "user": "o", "host": "h2"}, "from-a-pgpass")
    told = asked(monkeypatch, capsys)
    assert told["version"] == 170006 and told["parameters"] == {**APP, "sslrootcert": str(authority)}
    assert told["secret"]["password"] == PASSWORD and told["files"]["sslrootcert"] == "CA"
    # By its name; what only the driver knows is asked of it.
    told = asked(monkeypatch, capsys, "orders")
    assert (told["parameters"]["dbname"], told["parameters"]["host"]) == ("orders", "h2")
    assert told["secret"]["password"] == "from-a-pgpass"


def test_a_server_that_does_not_answer_is_told_without_the_password(
    django: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    django["default"] = FakeConnection({**APP, "password": PASSWORD}, fails=True)
    told = asked(monkeypatch, capsys)
    assert told["version"] == 0 and "could not connect with …" in told["problem"]
    assert told["secret"]["password"] == PASSWORD
    django["default"] = SimpleNamespace(vendor="sqlite")
    assert asked(monkeypatch, capsys)["vendor"] == "sqlite"
    del django["default"]
    assert "KeyError" in asked(monkeypatch, capsys)["error"]


def test_the_script_is_one_that_an_app_can_run() -> None:
    compile(app_script.as_text((connection,), ["shop"]), "script", "exec")
