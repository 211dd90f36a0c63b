# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain dumps restored into a real server: what its own ``pg_dump`` writes, and what a stranger wrote to run commands beside it."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.restorable import Plain
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.summary import BackupFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.server import PostgresFailed, Server
from tests.bed.shop import run
from tests.database.postgres_server import Postgres

MARK = "/tmp/evenkeel-ran"
SCHEMA = r"""
CREATE TABLE orders (id bigserial PRIMARY KEY, note text, span int[], CHECK (note !~ '^\s+\\$'));
CREATE TABLE files (name text, content oid);
CREATE VIEW parts AS SELECT id, (span)[1:2] AS two, CASE WHEN id > 1 THEN 'a''b' ELSE E'c\\' END AS "case" FROM orders;
CREATE RULE two AS ON INSERT TO files DO ALSO ( DELETE FROM orders WHERE id = 0; UPDATE orders SET note = 'x' WHERE id = 0; );
CREATE FUNCTION standard(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; SELECT a; END;
CREATE FUNCTION quoted() RETURNS text LANGUAGE plpgsql AS $q$ BEGIN RETURN '\! ; COPY x FROM stdin;' || $w$'$w$; END $q$;
CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM orders;
COMMENT ON TABLE orders IS 'C:\';
COMMENT ON COLUMN orders.note IS E'two\r\nlines; \\! and a quote''';
INSERT INTO orders (note, span) VALUES (E'it''s \\ a\tb\nc', '{1,2,3}'), (NULL, NULL), ('\.', '{}'), (E'\r', '{4}');
INSERT INTO files VALUES ('one', lo_from_bytea(0, '\x6162'));
"""
HEAD = "--\n-- PostgreSQL database dump\n--\nCREATE TABLE public.t (a text);\n"
TAIL = "--\n-- PostgreSQL database dump complete\n--\n"
HIDDEN = f"COMMENT ON TABLE public.t IS '\\'' \\! touch {MARK}\n';\n"
# What no reader of the text can know: a function that is called by the way turns the rules for strings.
TURNED = rf"""
CREATE FUNCTION public.turn() RETURNS text LANGUAGE plpgsql AS $$
BEGIN RETURN set_config('standard_conforming' || '_strings', 'off', false); END $$;
INSERT INTO public.t VALUES (public.turn());
{HIDDEN}"""


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Server]:
    """A database to restore into; no command has run beside it."""
    postgres.make("plain_dumps")
    run(["docker", "exec", postgres.container, "rm", "-f", MARK])
    yield Server(postgres.container, "postgres", "plain_dumps")
    ran = subprocess.run(["docker", "exec", postgres.container, "test", "-e", MARK], check=False)
    assert ran.returncode == 1, "a command of the dump was run"


def plain(server: Server, folder: Path, content: bytes, name: str = "b.sql", timeout: float = 60.0) -> Plain:
    (folder / name).write_bytes(content)
    found = Plain(cast(Any, SimpleNamespace(server=server)), cast(Any, None), str(folder / name), str(folder), timeout)
    found.look()
    return found


@pytest.mark.parametrize(
    "options", [[], ["--inserts"], ["--column-inserts", "--rows-per-insert=2"], ["--clean", "--if-exists"]]
)
def test_what_pg_dump_writes_comes_back_as_it_was(
    postgres: Postgres, server: Server, tmp_path: Path, options: list[str]
) -> None:
    postgres.make("plain_source")
    script = ["docker", "exec", "-i", postgres.container, "psql", "-XqU", "postgres", "-v", "ON_ERROR_STOP=1"]
    subprocess.run([*script, "plain_source"], input=SCHEMA.encode(), check=True)

    def dumped(database: str) -> bytes:
        argv = ["docker", "exec", postgres.container, "pg_dump", "-U", "postgres", *options, database]
        return subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout

    whole = dumped("plain_source")
    assert b"\n\\restrict " in whole
    plain(server, tmp_path, gzip.compress(whole), "b.sql.gz").fill(server, 60.0)
    key = slice(whole.index(b"\\restrict"), whole.index(b"\n", whole.index(b"\\restrict")))
    same = [line for line in whole.splitlines() if b"restrict " not in line]
    assert same == [line for line in dumped("plain_dumps").splitlines() if b"restrict " not in line], whole[key]


def test_a_dump_that_turns_the_rules_for_strings_cannot_make_psql_run_a_command(server: Server, tmp_path: Path) -> None:
    dump = plain(server, tmp_path, (HEAD + TURNED + TAIL).encode())
    with pytest.raises(PostgresFailed, match="backslash commands are restricted"):
        dump.fill(server, 60.0)


@pytest.mark.parametrize(
    "statement",
    [
        f"COPY (SELECT 1) TO STDOUT (NULL ')FROM stdin');\n\\! touch {MARK}\n\\.\n",
        "DO $d$ BEGIN PERFORM set_config('standard_conforming'||'_strings','off',false); END $d$;\n" + HIDDEN,
        f"COMMENT ON TABLE public.t IS 1$a$'$a$ \\! touch {MARK}\n';\n",
        f"COPY public.t FROM PROGRAM 'touch {MARK}';\n",
        f"-- all is well\r\\! touch {MARK}\n",
        f"COPY public.t FROM stdin;\n\\.\r\n\\! touch {MARK}\n\\.\n",
    ],
)
def test_what_would_run_a_command_is_refused_before_psql_reads_it(
    server: Server, tmp_path: Path, statement: str
) -> None:
    with pytest.raises(BackupFailed):
        plain(server, tmp_path, (HEAD + statement + TAIL).encode()).fill(server, 60.0)


def test_a_small_file_that_is_years_of_text_is_given_up(server: Server, tmp_path: Path) -> None:
    bomb = gzip.compress(HEAD.encode() + b"COPY public.t FROM stdin;\n" + b"\n" * 20_000_000)
    assert len(bomb) < 200_000
    with pytest.raises(BackupFailed, match=r"was not read within 0\.5 s: .* of a file of 1 MiB"):
        plain(server, tmp_path, bomb, "b.sql.gz", timeout=0.5)
