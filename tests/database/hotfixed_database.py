# SPDX-License-Identifier: GPL-3.0-or-later
"""A release and its database, which hotfixes change and which is dumped before and after: no app around them."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import hotfix_database
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import database_session, ledger
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.server import PSQL, Server

ROLES = ("CREATE ROLE shop LOGIN", "CREATE ROLE reader")
SCHEMA = """
DROP SCHEMA IF EXISTS public, inner_one CASCADE; CREATE SCHEMA public AUTHORIZATION shop;
SET ROLE shop;
CREATE TABLE django_migrations (id serial, app text, name text);
INSERT INTO django_migrations (app, name) VALUES ('tours', '0001_initial'), ('tours', '0002_first');
CREATE TABLE orders (id serial PRIMARY KEY, price numeric, note text);
INSERT INTO orders (price, note) VALUES (10, 'a'), (20, 'b');
CREATE FUNCTION price_of(o integer) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT price FROM orders WHERE id = o';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'old'; RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE VIEW cheap WITH (security_barrier=true) AS SELECT id, price FROM orders WHERE price < 15;
GRANT SELECT ON cheap TO reader; GRANT SELECT (id) ON cheap TO reader WITH GRANT OPTION;
CREATE TABLE parted (a int) PARTITION BY LIST (a); CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);
REVOKE EXECUTE ON FUNCTION price_of(integer) FROM PUBLIC; GRANT EXECUTE ON FUNCTION price_of(integer) TO reader;
COMMENT ON VIEW cheap IS 'what''s cheap'; COMMENT ON TRIGGER stamped ON orders IS 'stamps';
"""
FUNCTION = """CREATE OR REPLACE FUNCTION price_of(o integer) RETURNS numeric LANGUAGE sql STABLE
AS 'SELECT price * 2 FROM orders WHERE id = o'"""
VIEW = "CREATE OR REPLACE VIEW cheap AS SELECT id, price FROM orders WHERE price < 25"
WIDER = "CREATE OR REPLACE VIEW cheap AS SELECT id, price, note FROM orders WHERE price < 25"
TRIGGER = """
CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'new'; RETURN NEW; END $$;
DROP TRIGGER stamped ON orders;
CREATE TRIGGER stamped BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
"""


class App:
    """A release whose database is that server."""

    def __init__(self, root: Path, server: Server) -> None:
        self.root, self.server = root, server
        release = root / "releases/20261121T000000Z-1234567890"
        (release / "tours/migrations").mkdir(parents=True)
        for name in ("__init__", "0001_initial", "0002_first"):
            (release / f"tours/migrations/{name}.py").write_text("")
        (root / "current").symlink_to(release.relative_to(root))

    def __call__(self, text: str = "", dry: bool = False, **more: Any) -> dict[str, Any]:
        files = [{"path": "fix.sql", "content": base64.b64encode(text.encode()).decode()}] if text else []
        params = {"path": str(self.root), "files": files, "state": "applied", "lock_timeout": 0.3, "retries": 1,
                  "statement_timeout": 30.0, "timeout": 300.0, **more}  # fmt: skip
        return hotfix_database.call(params, dry)

    def back(self, name: str, **more: Any) -> dict[str, Any]:
        return self(state="reverted", name=name, **more)

    def refusal(self, text: str = "", **more: Any) -> str:
        with pytest.raises(BadInput) as caught:
            self(text, **more)
        return caught.value.message()

    @property
    def names(self) -> list[str]:
        return ledger.names(str(self.root / ".evenkeel"))

    def sql(self, text: str, user: str = "") -> str:
        """What statements print, each in a transaction of its own."""
        server = replace(self.server, user=user or self.server.user)
        return server.run([*server.words(*PSQL), "--dbname", server.database], text.encode()).strip()

    def run_as_app(self, statements: Sequence[str]) -> None:
        """What Django runs of a migration."""
        self.sql("".join(f"{s}\n;\n" for s in statements), user="shop")

    def dump(self) -> str:
        """Everything but rows that a dump tells of the schema."""
        lines = self.server.run([*self.server.words("pg_dump"), "--schema-only", self.server.database]).splitlines()
        return "\n".join(line for line in lines if "restrict" not in line)


def structure(dump: str) -> list[str]:
    """A dump without who may do what, which a migration leaves to the server, and without comments."""
    passed = ("GRANT", "REVOKE", "COMMENT", "--", "ALTER")
    return [line for line in dump.splitlines() if line and not line.startswith(passed)]


def run_migration(app: App, text: str) -> dict[str, Any]:
    """What the migration's text would have Django run."""
    told: dict[str, Any] = {}

    class Migrations:
        Migration = object

        @staticmethod
        def RunSQL(sql: list[str], reverse_sql: list[str]) -> None:
            told.update(sql=sql, reverse_sql=reverse_sql)

    names: dict[str, Any] = {"migrations": Migrations, "__name__": "migration"}
    exec(compile(text.replace("from django.db import migrations", ""), "migration", "exec"), names)
    assert names["evenkeel_phase"] == "either" and names["Migration"].dependencies == [("tours", "0002_first")]
    return told


def killed(app: App, place: int, text: str, **more: Any) -> bool:
    """Run it in a process that is killed when it has said so many things to the server, 0 for the last one of all.

    The server may go on with what it was told last.
    """
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    try:
        begin, asked, count = Server.begin, database_session.Transaction.ask, 0
        sessions: list[subprocess.Popen[bytes]] = []

        def begun(self: Server, *words: Any, **how: Any) -> subprocess.Popen[bytes]:
            sessions.append(begin(self, *words, **how))
            return sessions[-1]

        def ask(self: Any, script: str, doing: str = "") -> Any:
            nonlocal count
            count += 1
            if count == place or (not place and script.startswith("COMMIT")):
                stdin = sessions[-1].stdin
                assert stdin
                stdin.write(script.encode())
                stdin.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return asked(self, script, doing)

        Server.begin = begun  # type: ignore[method-assign]
        database_session.Transaction.ask = ask  # type: ignore[method-assign]
        app(text, **more)
    finally:
        os._exit(0)
