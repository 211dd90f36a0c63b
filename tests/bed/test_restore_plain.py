# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain dumps, as people have them from ``pg_dump > backup.sql``: restored whole, or refused by name with nothing touched."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from tests.bed.backup_stack import DATABASES, NAME, ORDERS, PASSWORD, Stack, fresh, one_database, playbook, stack
from tests.bed.shop import run

#: Fixtures of the project that is restored.
__all__ = ["fresh", "one_database", "stack"]


def dumped(program: str = "pg_dump", *options: str) -> bytes:
    """What people pipe into a file."""
    argv = ["docker", "exec", f"{NAME}-db-1", program, "-U", "shop", *(["-d", "shop"] if program == "pg_dump" else [])]
    return subprocess.run([*argv, *options], stdout=subprocess.PIPE, check=True).stdout


def kept(stack: Stack, name: str, data: bytes) -> str:
    stack.dest.mkdir(mode=0o700, exist_ok=True)
    (stack.dest / name).write_bytes(data)
    return name


def test_a_plain_dump_takes_the_place_of_the_database_and_says_what_is_lost(one_database: Stack) -> None:
    stack = one_database
    name = kept(stack, "backup.sql.gz", gzip.compress(dumped()))
    stack.sql("INSERT INTO orders (reference, note) VALUES ('x', 'written since')")
    stack.sql('GRANT INSERT ON orders TO "Read Only"')
    given = {"state": "restored", "backup": name}
    said = stack.refusal(**given)
    assert "public.orders 20,001 rows now, 20,000 in the backup" in said and "allow_downtime" in said
    given["allow_downtime"] = True
    foreseen = stack(check=True, **given)
    assert foreseen["changed"] and stack.sql(ORDERS) == "20001" and stack.files() == [name]
    result = stack(**given)
    assert result["changed"] and stack.sql(ORDERS) == "20000"
    assert result["differs"] == ["public.orders is no longer granted: Read Only INSERT"], result
    assert (
        stack.sql("SELECT count(*) FROM late") == "19990"
        and stack.sql('SELECT sum(n) FROM "odd ""name"."it\'s"') == "6"
    )
    # The counter goes on where it was in the dump.
    assert int(stack.sql("INSERT INTO orders (reference, note) VALUES ('y', 'written since') RETURNING id")) == 20_001
    kept_one = ["docker", "exec", f"{NAME}-db-1", "psql", "-XqAt", "-U", "shop", "-d", result["replaced"], "-c", ORDERS]
    assert run(kept_one).strip() == "20001"
    # What is restored already is not restored once more, until it is asked for.
    again = stack(**given)
    assert not again["changed"] and "what was written since" in again["msg"]
    stack.sql('GRANT INSERT ON orders TO "Read Only"')
    anywhere = stack.folder / "elsewhere.sql"
    anywhere.write_bytes(dumped("pg_dump", "--clean", "--if-exists", "--inserts", "--rows-per-insert=500"))
    stack.sql("DELETE FROM orders WHERE note = 'written since'")
    moved = stack(state="restored", backup=str(anywhere), allow_downtime=True)
    assert moved["changed"] and stack.sql(ORDERS) == "20001" and moved["differs"] == []
    stack.sql('REVOKE INSERT ON orders FROM "Read Only"')


def test_what_is_not_whole_or_leads_elsewhere_is_refused_before_anything(one_database: Stack) -> None:
    stack = one_database
    whole = dumped()
    packed = gzip.compress(whole)
    middle = len(packed) // 2
    lines = whole.splitlines(keepends=True)
    wrong = {
        "is empty (0 bytes)": ("a.sql", b""),
        "is truncated: pg_dump's last line": ("a.sql", b"".join(lines[: len(lines) // 2])),
        "is truncated: gzip's end is missing": ("a.sql.gz", packed[:-9]),
        "is corrupted": ("a.sql.gz", packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1 :]),
        "is not compressed by gzip": ("a.sql.gz", whole),
        "is an archive of pg_dump's custom format": ("a.sql", dumped("pg_dump", "--format", "custom")),
        "is of a newer server (PostgreSQL 99)": (
            "a.sql",
            re.sub(rb"database version \d+", b"database version 99", whole),
        ),
        "was made with --create": ("a.sql", dumped("pg_dump", "--create")),
        "pg_dumpall": ("a.sql", dumped("pg_dumpall")),
        "was made with --clean": ("a.sql", dumped("pg_dump", "--clean")),
        "is empty: there is no table": ("a.sql", dumped("pg_dump", "--table", "late")),
        "docker exec -t": ("a.sql", whole.replace(b"\n", b"\r\n")),
    }
    for said, (name, data) in wrong.items():
        kept(stack, name, data)
        refused = stack.refusal(state="restored", backup=name, allow_downtime=True)
        assert f"{name} " in refused and said in refused, (said, refused)
        (stack.dest / name).unlink()
    assert "cannot be read" in stack.refusal(state="restored", backup="gone.sql", allow_downtime=True)
    link = stack.dest / "link.sql"
    link.symlink_to("/etc/passwd")
    assert "cannot be read" in stack.refusal(state="restored", backup="link.sql", allow_downtime=True)
    link.unlink()
    # What only the server can know: the new database goes again, the one that serves was not touched.
    foreign = kept(stack, "b.sql", whole.replace(b"OWNER TO shop;", b"OWNER TO nobody_here;"))
    with pytest.raises(BadInput, match='role "nobody_here" does not exist'):
        stack(state="restored", backup=foreign, allow_downtime=True)
    assert stack.sql(DATABASES) == "shop" and stack.sql(ORDERS) == "20000"


def test_the_playbook_restores_a_plain_dump(one_database: Stack) -> None:
    stack = one_database
    name = kept(stack, "backup.sql", dumped())
    stack.sql("INSERT INTO orders (reference, note) VALUES ('x', 'written since')")
    done = playbook(stack, "restore", restore_backup=name, restore_allow_downtime=True, backup_min_free="0")
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout[-4000:]
    assert "dropdb -U shop shop_before_" in " ".join(done.stdout.split()) and PASSWORD not in done.stdout
    assert stack.sql(ORDERS) == "20000"
    again = playbook(stack, "restore", restore_backup=name, restore_allow_downtime=True, backup_min_free="0")
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout[-4000:]
    assert Path(stack.dest / name).exists()
