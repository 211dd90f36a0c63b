# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is good enough, which may go, and what is told of one that is not good."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.backup import backups as decide
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.backups import Backup
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.store import BackupStore
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.part_files import NoRoom
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres import programs
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host import inventory
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.server import Server, server_in

OF = ("travel", "db", "shop")


def a_backup(number: int, proven: str = decide.READ, *releases: str) -> Backup:
    return Backup(f"shop-2026010{number}T000000Z.dump", float(number), 100, proven, releases)


def names(backups: list[Backup]) -> list[int]:
    return [int(b.started) for b in backups]


# -- names -----------------------------------------------------------------------------------------------


def test_a_name_is_fresh_and_known_again_whatever_the_database_is_called() -> None:
    first = decide.new_name("shop", "20260101T000000Z", [])
    assert first == "shop-20260101T000000Z.dump"
    assert decide.new_name("shop", "20260101T000000Z", [first]) == "shop-20260101T000000Z.2.dump"
    for database in ("../etc/passwd", "a b", "-rf", "x\ny"):
        name = decide.new_name(database, "20260101T000000Z", [])
        assert decide.is_name(name) and "/" not in name
    assert not decide.is_name("shop.dump") and not decide.is_name("shop-20260101T000000Z.dump.part")


# -- retention -------------------------------------------------------------------------------------------


def test_the_newest_stay_and_the_oldest_go_first() -> None:
    found = [a_backup(n) for n in (3, 1, 5, 2, 4)]
    assert names(decide.to_remove(found, 2, [])) == [1, 2, 3]
    assert decide.to_remove(found, 0, []) == [] and decide.to_remove(found, 9, []) == []


def test_what_a_release_that_is_there_was_given_stays() -> None:
    found = [a_backup(1, decide.READ, "r1"), a_backup(2, decide.READ, "r2"), a_backup(3), a_backup(4)]
    assert names(decide.to_remove(found, 1, ["r1"])) == [2, 3]


def test_the_newest_that_was_restored_stays_and_no_older_one_of_that_kind() -> None:
    found = [a_backup(1, decide.RESTORED), a_backup(2, decide.RESTORED), a_backup(3), a_backup(4)]
    assert names(decide.to_remove(found, 1, [])) == [1, 3]


def test_good_enough_is_proven_and_not_older() -> None:
    found = [a_backup(1), a_backup(2), a_backup(3, "")]
    assert decide.good_enough(found, 2.0) == found[1]
    assert decide.good_enough(found, 2.5) is None
    assert decide.good_enough([], 0.0) is None


def test_room_is_guessed_by_the_last_one_else_by_the_database() -> None:
    assert decide.room_for(1000, 10**9) == 1250
    assert decide.room_for(0, 3000) == 1000


# -- what is wrong with one ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "size", "noted", "said"),
    [
        (b"", 0, 50, "is empty"),
        (b"", 0, -1, "is empty"),
        (b"PGDMP", 40, 50, "is truncated: 40 of 50 bytes"),
        (b"-- SQL", 50, 50, "no archive"),
        (b"PGDMP", 50, 50, ""),
        (b"PGDMP", 50, -1, ""),
    ],
)
def test_what_a_look_tells(head: bytes, size: int, noted: int, said: str) -> None:
    told = decide.wrong_with_head(head, size, noted)
    assert said in told and bool(said) == bool(told)


@pytest.mark.parametrize(
    ("complaint", "name"),
    [
        ("pg_restore: error: could not read from input file: end of file", "is truncated"),
        ("pg_restore: error: input file is too short (read 0, expected 5)", "is truncated"),
        ("pg_restore: error: unsupported version (1.99) in file header", "newer pg_dump"),
        ("pg_restore: error: could not uncompress data: incorrect data check", "is corrupted"),
        ("pg_restore: error: input file does not appear to be a valid archive", "no archive"),
        ("something else", "cannot be read"),
    ],
)
def test_what_pg_restore_says_has_a_name(complaint: str, name: str) -> None:
    assert name in decide.meaning(f"pg_restore: warning: at first\n{complaint}\n")


def test_rows_and_statements_that_an_error_quotes_are_not_told() -> None:
    stderr = (
        "pg_restore: while PROCESSING TOC:\n"
        'pg_restore: error: COPY failed for table "users": ERROR:  duplicate key value violates unique constraint "users_key"\n'
        "DETAIL:  Key (email)=(anna@example.com) already exists.\n"
        'CONTEXT:  COPY users, line 2: "7\tanna@example.com"\n'
    )
    assert programs.first_complaint(stderr).startswith('pg_restore: error: COPY failed for table "users"')
    assert "anna" not in programs.first_complaint(stderr)
    assert programs.first_complaint("") == "it gave no reason"


# -- comparing -------------------------------------------------------------------------------------------

NOTED = {
    "relations": {"table": ["public.a", "public.b"], "sequence": ["public.a_id_seq"]},
    "rows": {"public.a": 3, "public.b": 0},
    "extensions": {"plpgsql": "1.0"},
    "migrations": {"count": 1, "latest": {"shop": "0001"}},
    "large_objects": 0,
}


def test_the_same_is_the_same_and_each_difference_is_named() -> None:
    assert decide.differences(NOTED, json.loads(json.dumps(NOTED))) == []
    other = json.loads(json.dumps(NOTED))
    other["relations"] = {"table": ["public.a", "public.c"]}
    other["rows"] = {"public.a": 2, "public.c": 9}
    other["extensions"], other["migrations"] = {}, {"count": 0, "latest": {}}
    assert decide.differences(NOTED, other) == [
        "sequence public.a_id_seq is missing",
        "table public.b is missing",
        "table public.c was not there",
        "public.a has 2 rows instead of 3",
        "extension plpgsql is missing",
        "migrations differ",
    ]


def test_what_was_written_since_begins_with_what_differs_most() -> None:
    noted, now = {"public.a": 3, "public.b": 10, "public.gone": 1}, {"public.a": 3, "public.b": 1_200, "public.new": 2}
    assert decide.written_since(noted, now) == [
        "public.b 1,200 rows now, 10 in the backup",
        "public.new 2 rows now, 0 in the backup",
        "public.gone 0 rows now, 1 in the backup",
    ]


def test_roles_are_made_without_a_login_and_whatever_they_are_called() -> None:
    roles = [
        {"name": "shop", "member_of": []},
        {"name": 'a"; DROP TABLE x; --', "member_of": ["shop"]},
        {"name": "pg_monitor", "member_of": []},
    ]
    assert programs.role_statements(roles, ["shop"]) == [
        'CREATE ROLE "a""; DROP TABLE x; --" NOLOGIN;',
        'GRANT "shop" TO "a""; DROP TABLE x; --";',
    ]


def test_who_may_log_in_is_what_they_are_where_the_dump_is_from() -> None:
    roles = [
        {"name": "shop", "login": True, "createdb": True, "superuser": False, "member_of": []},
        {"name": "reader", "login": False, "superuser": True},
        {"name": "master", "login": True, "member_of": ["rds_superuser"]},
        {"name": "rds_superuser", "login": False},
        {"name": 'o"dd', "login": True, "superuser": True, "bypassrls": True},
        {"name": "mine", "login": True},
    ]
    assert decide.login_statements(roles, ["mine"]) == [
        'ALTER ROLE "shop" LOGIN CREATEDB;',
        'ALTER ROLE "master" LOGIN SUPERUSER;',
        'ALTER ROLE "o""dd" LOGIN SUPERUSER BYPASSRLS;',
    ]


def test_what_psql_prints_is_read() -> None:
    told = inventory.read(
        [
            '{"facts": {"server_version": "17.1", "extensions": {}}}',
            '{"relation": ["table", "public.a"]}',
            '{"migration": ["shop", "0001"]}',
            '{"migration": ["shop", "0002"]}',
            '{"rows": ["public.a", 7]}',
        ]
    )
    assert told["relations"] == {"table": ["public.a"]} and told["rows"] == {"public.a": 7}
    assert told["migrations"] == {"count": 2, "latest": {"shop": "0002"}}


# -- the folder ------------------------------------------------------------------------------------------


def a_store(folder: Path, of: tuple[str, str, str] = OF) -> BackupStore:
    store = BackupStore(str(folder / "backups"), of)
    store.make()
    return store


def keep(store: BackupStore, name: str, data: bytes = b"PGDMP and more", **more: object) -> None:
    with store.part(name, 0) as part:
        part.write(data)
        part.sync()
        part.keep({"bytes": part.size, "sha256": part.sha256, "started_at": 1.0, "proven": "read", **more})


NAME = "shop-20260101T000000Z.dump"


def test_a_dump_is_there_whole_with_its_manifest_or_not_at_all(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with pytest.raises(RuntimeError), store.part(NAME, 0) as part:
        part.write(b"half")
        raise RuntimeError("pg_dump failed after 90 %")
    assert os.listdir(store.folder) == []
    keep(store, NAME)
    assert sorted(os.listdir(store.folder)) == [NAME, f"{NAME}.json"]
    assert store.manifest(NAME)["sha256"] == hashlib.sha256(b"PGDMP and more").hexdigest()
    assert [b.name for b in store.all()] == [NAME]
    store.remove(NAME)
    assert os.listdir(store.folder) == []


def test_what_a_killed_run_left_goes_and_nothing_of_others(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    keep(store, NAME)
    left = ["shop-20260102T000000Z.dump.part", "shop-20260103T000000Z.dump.json"]
    others = ["notes.json", "mine.part", "by-hand.dump"]
    for name in left + others:
        (tmp_path / "backups" / name).write_text("{}")
    with store.held():
        assert sorted(os.listdir(store.folder)) == sorted([".lock", NAME, f"{NAME}.json", *others])
        with pytest.raises(BadInput, match="another backup"), store.held():
            pass


def test_other_databases_in_the_same_folder_are_left_alone(tmp_path: Path) -> None:
    keep(a_store(tmp_path), NAME)
    other = a_store(tmp_path, ("travel", "db", "other"))
    assert other.all() == [] and other.names() == [NAME]
    # A manifest that was put beside another dump is none of it.
    manifest = (tmp_path / "backups" / f"{NAME}.json").read_text()
    (tmp_path / "backups/shop-20260109T000000Z.dump").write_bytes(b"x")
    (tmp_path / "backups/shop-20260109T000000Z.dump.json").write_text(manifest)
    assert [b.name for b in a_store(tmp_path).all()] == [NAME]


def test_a_dump_is_given_up_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = a_store(tmp_path)
    free = iter([10**9, 10**3])
    monkeypatch.setattr(store, "free", lambda: next(free))
    with pytest.raises(NoRoom, match="less than 1 MiB would be left"), store.part(NAME, 2**20) as part:
        for _megabyte in range(64):
            part.write(bytes(2**20))
    assert os.listdir(store.folder) == []


# -- the server ------------------------------------------------------------------------------------------


class NoEngine:
    """An engine in whose containers a file has the password."""

    def run_inside(self, container: str, argv: list[str], **more: object) -> tuple[int, str]:
        return (0, "from-a-file\n") if argv == ["cat", "/run/secrets/password"] else (1, "")


@pytest.mark.parametrize(
    ("environment", "user", "database", "password"),
    [
        ([], "postgres", "postgres", ""),
        (["POSTGRES_USER=shop"], "shop", "shop", ""),
        (["POSTGRES_USER=shop", "POSTGRES_DB=orders", "POSTGRES_PASSWORD=a=b"], "shop", "orders", "a=b"),
        (["POSTGRES_PASSWORD_FILE=/run/secrets/password"], "postgres", "postgres", "from-a-file"),
        (["POSTGRESQL_USERNAME=bn", "POSTGRESQL_DATABASE=d"], "bn", "d", ""),
    ],
)
def test_whom_to_connect_as_is_in_the_containers_environment(
    environment: list[str], user: str, database: str, password: str
) -> None:
    found = server_in(NoEngine(), {"Id": "c", "Config": {"Env": environment}})  # type: ignore[arg-type]
    assert found == Server("c", user, database, password)
    assert not password or password not in repr(found)


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (0, "pg_dump (PostgreSQL) 17.6", True),
        (0, "pg_dump of something else", False),
        (0, "", None),
        (127, 'exec: "pg_dump": executable file not found in $PATH: unknown', False),
        (126, "fork/exec /usr/bin/pg_dump: no such file or directory", False),
        (124, "no end within 30 s", None),
        (126, "Container 1234 is not running", None),
        (126, "Read timed out", None),
        (137, "", None),
    ],
)
def test_an_engine_that_does_not_answer_is_no_database_of_another_make(
    code: int, said: str, expected: bool | None
) -> None:
    assert decide.has_pg_dump(code, said) is expected
