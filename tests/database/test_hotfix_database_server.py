# SPDX-License-Identifier: GPL-3.0-or-later
"""Hotfixes of a database: in a real server, without an app around it."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.request import Request
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.restore import Restoring
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.source import Source
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.options import ProjectOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import (
    database,
    database_run,
    database_session,
    staging,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import ledger as hotfix_ledger
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.inside.ledger import Ledger
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.server import Server
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.database.hotfixed_database import (
    FUNCTION,
    ROLES,
    SCHEMA,
    TRIGGER,
    VIEW,
    WIDER,
    App,
    killed,
    run_migration,
    structure,
)
from tests.database.migrations.running import Projects
from tests.database.postgres_server import Postgres

ATOMIC = (
    "CREATE FUNCTION one() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; "
    "CREATE VIEW v AS SELECT one()"
)
ON_A_VIEW = (
    "CREATE VIEW a AS SELECT 1 AS x; CREATE VIEW b AS SELECT x FROM a; "
    "CREATE OR REPLACE VIEW cheap AS SELECT id, price FROM orders, b"
)


def long(*cases: Any) -> list[Any]:
    """Cases that the evidence runs; one of their kind is in every run."""
    return [pytest.param(*(c if isinstance(c, tuple) else (c,)), marks=pytest.mark.nightly) for c in cases]


@pytest.fixture(scope="session")
def server(postgres: Postgres) -> Server:
    """A database ``shop`` of a role ``shop``; ``postgres`` may do everything."""
    for statement in (*ROLES, "CREATE DATABASE shop OWNER shop"):
        postgres.sql(statement)
    return Server(postgres.container, "postgres", "shop")


@pytest.fixture
def app(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> App:
    made = App(tmp_path, server)
    made.sql(SCHEMA)
    source = Source(None, "shop", "db", {}, server, {})  # type: ignore[arg-type]
    monkeypatch.setattr(database, "source_of", lambda _wanted: source)
    monkeypatch.setattr(database_run, "RETRY_PAUSE", 0.05)
    return made


def test_a_function_is_replaced_found_there_and_comes_back(app: App) -> None:
    before = app.dump()
    told = app(FUNCTION, dry=True, name="price")
    assert told["changed"] and "would be applied: function price_of" in told["msg"]
    assert app.dump() == before and app.names == []
    told = app(FUNCTION, name="price")
    assert told["changed"] and told["objects"] == ["function public.price_of(integer)"]
    assert app.sql("SELECT price_of(1)") == "20"
    assert "price FROM orders" in told["diff"]["before"] and "price * 2" in told["diff"]["after"]
    assert app.dump() != before and app(FUNCTION, name="price")["changed"] is False
    assert app(FUNCTION, dry=True, name="price")["changed"] is False
    ledger = app.root / ".evenkeel/hotfixes"
    assert sorted(p.name for p in ledger.iterdir()) == ["price.json", "price.migration.py", "price.patch"]
    assert {p.stat().st_mode & 0o777 for p in ledger.iterdir()} == {0o600}
    assert app.back("price", dry=True)["changed"] and app.sql("SELECT price_of(1)") == "20"
    assert app.back("price")["changed"] and app.dump() == before
    assert app.back("price")["changed"] is False
    assert app(FUNCTION, name="price")["changed"] and app.back("price")["changed"] and app.dump() == before


@pytest.mark.parametrize(
    "text",
    [
        WIDER,
        TRIGGER,
        *long(
            FUNCTION,
            VIEW,
            f"{FUNCTION};{TRIGGER};{WIDER}",
            ATOMIC,
            "DROP VIEW cheap; CREATE VIEW cheap AS SELECT note FROM orders",
            "DROP FUNCTION price_of(integer); CREATE FUNCTION price_of(o integer) RETURNS text LANGUAGE sql AS 'SELECT ''x''::text'",
            "DROP FUNCTION price_of(integer); CREATE FUNCTION price_of(other integer) RETURNS numeric LANGUAGE sql AS 'SELECT 1.0'",
            "DROP TRIGGER stamped ON orders; DROP FUNCTION stamp()",
            "DROP VIEW IF EXISTS cheap, nothing",
            "CREATE PROCEDURE p(INOUT a int, b text DEFAULT 'x;') LANGUAGE plpgsql AS $p$ BEGIN a := 1; END $p$",
            'CREATE FUNCTION "odd;name"("a b" text[], VARIADIC c int[]) RETURNS SETOF orders LANGUAGE sql AS $$SELECT * FROM orders$$',
            ON_A_VIEW,
            "CREATE TRIGGER v INSTEAD OF INSERT ON cheap FOR EACH ROW EXECUTE FUNCTION stamp()",
            "CREATE TRIGGER more AFTER INSERT ON parted FOR EACH ROW EXECUTE FUNCTION stamp()",
            "CREATE TRIGGER more AFTER UPDATE OF price, note ON public.orders FOR EACH STATEMENT EXECUTE FUNCTION stamp()",
        ),
    ],
)
def test_whatever_is_changed_everything_is_again_as_it_was(app: App, text: str) -> None:
    before = app.dump()
    told = app(text, name="all")
    after = app.dump()
    assert told["changed"] and after != before
    again = app(text, name="all")
    assert again["changed"] is False and app.dump() == after
    migration = run_migration(app, told["migration"])
    # Where the hotfix is in force already it changes nothing, and on a server without it everything.
    app.run_as_app(migration["sql"])
    assert structure(app.dump()) == structure(after)
    app.sql(SCHEMA)
    app.run_as_app(migration["sql"])
    assert structure(app.dump()) == structure(after)
    app.run_as_app(migration["reverse_sql"])
    assert structure(app.dump()) == structure(before)
    app.sql(SCHEMA)
    hotfix_ledger.forget(str(app.root / ".evenkeel"), "all")
    assert app(text, name="all")["changed"] and app.dump() == after
    assert app.back("all")["changed"] and app.dump() == before


@pytest.mark.nightly
def test_owners_grants_and_comments_are_kept_and_what_is_new_belongs_to_the_app(app: App) -> None:
    app(
        "DROP VIEW cheap; CREATE VIEW cheap AS SELECT note FROM orders; CREATE FUNCTION fresh() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    dump = app.dump()
    assert "ALTER TABLE public.cheap OWNER TO shop" in dump or "ALTER VIEW public.cheap OWNER TO shop" in dump
    assert "GRANT SELECT ON TABLE public.cheap TO reader" in dump and "what''s cheap" in dump
    assert "ALTER FUNCTION public.fresh() OWNER TO shop" in dump


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        (FUNCTION, {"check": "SELECT price_of(1) = 10"}, "the check is not true with it: it said false"),
        *long(
            ("CREATE TABLE x ()", {}, "CREATE TABLE X is none of what a hotfix changes"),
            ("ALTER TABLE orders ADD x int", {}, "evenkeel.deploy.update"),
            (f"{FUNCTION}; UPDATE orders SET price = 0", {}, "works on rows"),
            (f"{FUNCTION}; COMMIT", {}, "one already"),
            ("CREATE VIEW v AS SELECT nothing FROM orders", {}, 'column "nothing" does not exist'),
            ("CREATE OR REPLACE VIEW cheap AS SELECT id FROM orders", {}, "cannot drop columns from view"),
            ("DROP FUNCTION stamp()", {}, "trigger stamped on table orders depends on function stamp()"),
            (FUNCTION, {"check": "SELECT 1/0 = 1"}, "the check failed: division by zero"),
            (FUNCTION, {"check": "SELECT nextval('orders_id_seq') > 0"}, "a check can write nothing"),
            (FUNCTION, {"check": "SELECT 1; SELECT 2"}, "not one SELECT"),
            (FUNCTION, {"check": "SELECT pg_sleep(60)::text", "statement_timeout": 0.2}, "statement timeout"),
            (FUNCTION, {"name": "../x"}, "cannot be the name"),
            (FUNCTION, {"migration_app": "nobody"}, "no app nobody"),
            (FUNCTION, {"lock_timeout": 0.0}, "more than 0"),
            ("", {}, "no file is given"),
            ("SELECT 'x", {}, "never closed"),
            ("\\! touch /tmp/x", {}, "a command of psql"),
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left_of_it(
    app: App, text: str, more: dict[str, Any], expected: str
) -> None:
    before = app.dump(), app.sql("SELECT * FROM orders ORDER BY id")
    told = app.refusal(text, **more)
    assert expected in told and "Now: nothing was touched" in told and "Next: " in told
    assert (app.dump(), app.sql("SELECT * FROM orders ORDER BY id")) == before and app.names == []


@pytest.mark.nightly
def test_what_could_not_be_taken_back_is_not_begun(app: App) -> None:
    app.sql("CREATE VIEW over AS SELECT * FROM cheap", user="shop")
    before = app.dump()
    assert "could not be taken back" in app.refusal(WIDER) and app.dump() == before
    app.sql("DROP VIEW over; COMMENT ON COLUMN cheap.id IS 'x'", user="shop")
    before = app.dump()
    assert "could not be taken back as it was: view public.cheap" in app.refusal(WIDER) and app.dump() == before
    assert app(VIEW, name="v")["changed"] and app.back("v")["changed"] and app.dump() == before


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        ("UPDATE orders SET price = 0", "rows of orders"),
        *long(
            ("CREATE TABLE hidden (a int)", "relation hidden"),
            ("DROP TABLE django_migrations", "table "),
            ("ALTER TABLE orders ADD x int", "column x"),
            ("CREATE INDEX hidden ON orders (note)", "relation hidden"),
            ("CREATE SCHEMA hidden", "schema hidden"),
            ("ALTER FUNCTION stamp() STABLE", "function stamp"),
            ("TRUNCATE orders", "table orders"),
            ("COMMIT", "EXECUTE of transaction commands"),
        ),
    ],
)
def test_what_the_reader_of_statements_might_miss_the_server_tells(
    app: App, monkeypatch: pytest.MonkeyPatch, hidden: str, expected: str
) -> None:
    before = app.dump()
    read = database.changes_of

    def deceived(text: str) -> Any:
        changes = read(FUNCTION)
        return [*changes[:-1], type(changes[0])(text, 1, changes[0].named)]

    monkeypatch.setattr(database, "changes_of", deceived)
    assert expected in app.refusal(f"{FUNCTION}; {hidden}")
    assert app.dump() == before and app.sql("SELECT min(price) FROM orders") == "10"


@pytest.mark.nightly
def test_a_name_without_its_schema_is_not_taken_for_another(app: App) -> None:
    app.sql("CREATE SCHEMA inner_one; ALTER FUNCTION price_of(integer) SET SCHEMA inner_one")
    assert "there is one in inner_one" in app.refusal(FUNCTION)
    assert app(FUNCTION.replace("price_of", "inner_one.price_of"))["changed"]
    app.sql("DROP SCHEMA inner_one CASCADE")


def test_two_on_one_object_go_back_in_their_order(app: App) -> None:
    before = app.dump()
    app(FUNCTION, name="one")
    middle = app.dump()
    app(FUNCTION.replace("* 2", "* 3"), name="two")
    assert "the hotfix two changed function public.price_of(integer) after one" in app.refusal(
        name="one", state="reverted"
    )
    assert "is there already, and is another one" in app.refusal(FUNCTION.replace("* 2", "* 4"), name="two")
    assert "and function public.price_of(integer) is another one since" in app.refusal(FUNCTION, name="one")
    assert app.back("two")["changed"] and app.dump() == middle
    assert app.back("one")["changed"] and app.dump() == before
    assert "no hotfix of the database is called typo" in app.refusal(name="typo", state="reverted")
    assert app.back("typo", optional=True)["found"] is False


def test_what_somebody_changed_since_is_left(app: App) -> None:
    app(f"{FUNCTION};{VIEW}", name="both")
    app.sql(FUNCTION.replace("* 2", "* 9"), user="shop")
    app.sql("REVOKE SELECT ON cheap FROM reader", user="shop")
    told = app.back("both")
    assert told["changed"] and "is left as it is" in " ".join(told["notes"])
    assert app.sql("SELECT price_of(1), (SELECT count(*) FROM cheap)") == "90|1"
    assert "GRANT SELECT ON TABLE public.cheap TO reader" not in app.dump()


def test_who_is_in_the_way_is_named_and_nobody_waits_behind(app: App) -> None:
    before = app.dump()
    holder = app.server.begin(["psql", "-XqAt", "-U", "shop", "-d", "shop"], subprocess.PIPE)
    assert holder.stdin and holder.stdout
    holder.stdin.write(b"BEGIN; SELECT * FROM cheap; SELECT 'held';\n")
    holder.stdin.flush()
    while holder.stdout.readline() != b"held\n":
        pass
    for text in (VIEW, TRIGGER):
        told = app.refusal(text)
        assert "in 2 attempts of 0.3 s; process " in told and "idle in transaction" in told, told
    assert app.sql("SELECT count(*) FROM cheap") == "1" and app.names == []
    # Nobody has to be waited for where only a function is replaced.
    assert app(FUNCTION, name="f")["changed"] and app.back("f")["changed"]
    holder.stdin.close()
    holder.wait()
    assert app.dump() == before and app(f"{VIEW};{TRIGGER}", name="v")["changed"]


@pytest.mark.parametrize("place", [0, *long(1, 5, 8, 11, 14, 17, 20, 26)])
def test_killed_at_a_word_to_the_server_the_same_call_ends_it(app: App, place: int) -> None:
    before, text = app.dump(), f"{TRIGGER};{WIDER}"
    assert killed(app, place, text, name="k")
    assert app(text, name="k", retries=30)["changed"]
    after = app.dump()
    assert after != before and app(text, name="k")["changed"] is False and app.dump() == after
    assert app.back("k")["changed"] and app.dump() == before and app.back("k")["changed"] is False


@pytest.mark.nightly
@pytest.mark.parametrize("place", [1, 4, 7, 10, 13, 0])
def test_killed_on_its_way_back_it_comes_there_all_the_same(app: App, place: int) -> None:
    before, text = app.dump(), f"{TRIGGER};{WIDER}"
    app(text, name="k")
    assert killed(app, place, "", name="k", state="reverted")
    app.back("k", retries=30)
    assert app.dump() == before and app.back("k")["changed"] is False
    assert hotfix_ledger.of_databases(str(app.root / ".evenkeel")) == {}


class Killed(BaseException):
    """As kill -9, but that this test goes on."""


@pytest.mark.nightly
@pytest.mark.parametrize("state", ["applied", "reverted"])
def test_killed_after_it_was_committed_the_same_call_finds_it(
    app: App, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    before = app.dump()
    if state == "reverted":
        app(WIDER, name="k")
    commit = database_session.Transaction.commit

    def committed(self: Any) -> None:
        commit(self)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(database_session.Transaction, "commit", committed)
        patched.setattr(hotfix_ledger, "forget", lambda *_args: None)
        patched.setattr(database_run.Ledger, "end", lambda *_args: None)
        with pytest.raises(Killed):
            app(WIDER if state == "applied" else "", name="k", state=state)
    if state == "applied":
        assert (
            app.dump() != before
            and hotfix_ledger.read(str(app.root / ".evenkeel"), "k")["database"]["state"] == "committing"
        )
        assert app(WIDER, name="k")["changed"] and app(WIDER, name="k")["changed"] is False
        assert app.back("k")["changed"]
    else:
        assert app.back("k")["changed"] is False
    assert app.dump() == before and hotfix_ledger.of_databases(str(app.root / ".evenkeel")) == {}


@pytest.mark.nightly
def test_a_session_that_goes_on_after_a_kill_is_waited_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed run has begun to commit may come to be beside the next run."""
    before = app.dump()

    def unsure(self: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(database_session.Transaction, "commit", unsure)
        patched.setattr(hotfix_ledger, "forget", lambda *_args: None)
        with pytest.raises(Killed):
            app(WIDER, name="k")
    things = database_session.Transaction.things
    late: list[bool] = []

    def looked(self: Any, named: Any) -> Any:
        late.append(True)
        if len(late) == 2:
            # Between the look that finds it not begun and the transaction that begins it.
            app.sql(WIDER, user="shop")
        return things(self, named)

    monkeypatch.setattr(database_session.Transaction, "things", looked)
    assert app(WIDER, name="k")["changed"] and len(late) == 2
    assert app.back("k")["changed"] and app.dump() == before


@pytest.mark.nightly
def test_what_became_of_it_is_told_once(app: App) -> None:
    def checked() -> dict[str, Any]:
        return app(state="checked")

    assert checked()["msg"] == "no hotfix of a database is in force"
    app(FUNCTION, name="price-1")
    told = checked()
    assert "in no migration yet" in told["msg"] and told["changed"] is False
    app.sql("INSERT INTO django_migrations (app, name) VALUES ('tours', '0003_hotfix_price_1')")
    assert "is in the migrations now" in checked()["msg"] and checked()["notes"] == []
    app(VIEW.replace("25", "20"), name="below")
    app(VIEW, name="seen")
    assert [n.split()[2] for n in checked()["notes"]] == ["seen"]
    assert app.back("seen")["changed"] and app.back("below")["changed"] and app(VIEW, name="seen")["changed"]
    app.sql(WIDER, user="shop")
    assert "is another one since" in checked()["msg"] and checked()["notes"] == []
    app("CREATE FUNCTION gone() RETURNS int LANGUAGE sql AS 'SELECT 1'", name="gone")
    app.sql("DROP FUNCTION gone()")
    assert "IS GONE" in checked()["msg"]


@pytest.mark.nightly
def test_what_is_there_already_is_no_hotfix(app: App) -> None:
    app.sql(FUNCTION, user="shop")
    told = app(FUNCTION)
    assert told["changed"] is False and "was there already" in " ".join(told["notes"]) and app.names == []


@pytest.mark.nightly
def test_staging_has_to_have_tried_the_same_statements(app: App) -> None:
    def asked(tried: list[dict[str, Any]]) -> dict[str, Any]:
        return {"staging": [{"host": "staging", "tried": tried}], "staging_max_age": 86400.0}

    before = app.dump()
    refused = app.refusal(FUNCTION, **asked([]))
    assert "staging" in refused and app.dump() == before and app.names == []
    state_dir = str(app.root / ".evenkeel")
    app(f"-- as it was tried\n{FUNCTION};", name="there")
    tried = staging.tried(Store(str(app.root)), state_dir)
    assert app.back("there")["changed"] and app.dump() == before
    told = app(FUNCTION, name="here", **asked(tried))
    assert told["changed"] and "tried on staging" in " ".join(told["notes"])
    # It is here: the same again asks nobody.
    assert app(FUNCTION, name="here", **asked([]))["changed"] is False
    assert "staging" in app.refusal(VIEW, **asked(tried))
    app(VIEW, name="urgent", skip_staging="nobody can order", **asked(tried))
    assert hotfix_ledger.read(state_dir, "urgent")["untried"] == "nobody can order"


@pytest.mark.nightly
def test_who_owns_what_is_changed_need_be_nothing_more(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(None, "shop", "db", {}, replace(app.server, user="shop"), {})  # type: ignore[arg-type]
    monkeypatch.setattr(database, "source_of", lambda _wanted: source)
    before = app.dump()
    assert app(f"{TRIGGER};{WIDER};{FUNCTION}", name="own")["changed"] and app.dump() != before
    assert app.back("own")["changed"] and app.dump() == before
    app.sql("ALTER VIEW cheap OWNER TO postgres")
    before = app.dump()
    assert "must be owner of view cheap" in app.refusal(f"{TRIGGER};{WIDER}") and app.dump() == before


@pytest.mark.nightly
def test_requests_go_on_beside_it(app: App) -> None:
    """Readers and writers of the view and the table, for as long as hotfixes come and go."""
    text = (
        b"BEGIN; SELECT count(*) FROM cheap; INSERT INTO orders (price) VALUES (1); SELECT price_of(1); COMMIT;\n"
        b"SELECT 'done';\n"
    )
    users = [
        app.server.begin(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "shop", "-d", "shop"], subprocess.PIPE)
        for _user in range(3)
    ]
    enough, served = threading.Event(), [0, 0, 0]

    def use(number: int) -> None:
        user = users[number]
        assert user.stdin and user.stdout
        while not enough.is_set():
            user.stdin.write(text)
            user.stdin.flush()
            for line in user.stdout:
                if line == b"done\n":
                    break
            else:
                return
            served[number] += 1

    threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(3):
            before = list(served)
            assert app(f"{TRIGGER};{WIDER};{FUNCTION}", name=f"n{turn}", retries=20)["changed"]
            assert app.back(f"n{turn}", retries=20)["changed"]
            assert all(now > then for now, then in zip(served, before))
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    for user in users:
        _out, errors = user.communicate(timeout=60)
        assert (user.returncode, errors) == (0, b"")
    assert app.sql("SELECT count(*) FROM orders") == str(2 + sum(served))


def test_a_database_of_another_host_is_neither_changed_nor_restored(
    app: App, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(Projects(), "shop", "db", {}, app.server, {})  # type: ignore[arg-type]
    monkeypatch.setattr(database, "source_of", lambda _wanted: source)
    app(FUNCTION, name="here")
    with postgres.connect("shop", autocommit=True) as connection:
        ledger = Ledger(connection, "3f2c1ab")
        ledger.make()
        assert ledger.take({"engine": "engine-1", "name": "web-1", "project": "shop"}, "")
    before = app.dump()
    for dry in (True, False):
        said = app.refusal(VIEW, dry=dry, name="late")
        assert "belongs to the project shop on web-1" in said and "-e app_database_take_over=web-1/shop" in said
    with pytest.raises(BadInput, match="belongs to the project shop on web-1"):
        app.back("here")
    asked_for = Request(ProjectOptions(""), LockOptions(str(app.root)), "")
    restoring = Restoring(asked_for, source, None, 0, None, None)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="belongs to the project shop on web-1"):
        restoring.restored(None)
    assert app.dump() == before and app.names == ["here"]
    assert app.back("here", take_over_from="web-1/shop")["changed"]
