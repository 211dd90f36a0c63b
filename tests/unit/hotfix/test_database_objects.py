# SPDX-License-Identifier: GPL-3.0-or-later
"""From one state of functions, views and triggers to another, and the migration of it; a real server is asked in another file."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix import database_objects as objects
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix import migration
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.database import Refused, changes_of, checked_query
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.database_objects import Thing


def function(name: str, body: str = "1", **more: object) -> Thing:
    text = f"CREATE OR REPLACE FUNCTION public.{name}() AS '{body}'"
    return objects.thing({"kind": "function", "schema": "public", "name": name, "sql_name": f"public.{name}()", "definition": text,
                          "shape": ["", "integer"], "owner": "shop", **more})  # fmt: skip


def view(name: str, *columns: str, **more: object) -> Thing:
    text = f"CREATE OR REPLACE VIEW public.{name} AS SELECT {', '.join(columns)}"
    return objects.thing({"kind": "view", "schema": "public", "name": name, "sql_name": f"public.{name}", "definition": text,
                          "shape": list(columns), "owner": "shop", **more})  # fmt: skip


def trigger(name: str, **more: object) -> Thing:
    return objects.thing({"kind": "trigger", "schema": "public", "name": name, "sql_name": f"{name} ON public.t", "enabled": "O",
                          "definition": f"CREATE TRIGGER {name} {more.pop('on', 'a')}", "table": "public.t", **more})  # fmt: skip


def of(*some: Thing) -> dict[str, Thing]:
    return {t.key: t for t in some}


def test_what_needs_another_goes_first_and_comes_last() -> None:
    now = of(function("f", "new"), function("fresh"), view("v", "a", "b"), view("w", "x"), trigger("t", on="b"))
    wanted = of(function("f", "old"), view("v", "a"), trigger("t"))
    assert [s.split(" AS")[0] for s in objects.leading(now, wanted)] == [
        "DROP TRIGGER IF EXISTS t ON public.t",
        "DROP VIEW IF EXISTS public.v",
        "CREATE OR REPLACE FUNCTION public.f()",
        "CREATE OR REPLACE VIEW public.v",
        "DROP VIEW IF EXISTS public.w",
        "DROP FUNCTION IF EXISTS public.fresh()",
        "CREATE TRIGGER t a",
    ]
    assert objects.leading(now, now) == [] and objects.leading({}, {}) == []


def test_a_view_that_gets_columns_is_replaced_and_one_that_loses_some_is_made_anew() -> None:
    less, more = of(view("v", "a")), of(view("v", "a", "b"))
    assert len(objects.leading(less, more)) == 1 and len(objects.leading(more, less)) == 2
    other = of(function("f", shape=["", "text"]))
    assert objects.leading(of(function("f")), other)[0] == "DROP FUNCTION IF EXISTS public.f()"


def test_owners_grants_comments_and_states_are_set_as_they_were() -> None:
    now = of(
        view("v", "a", grants=[["shop", "SELECT", False, ""], ["PUBLIC", "SELECT", False, ""]], owner="shop"),
        trigger("t"),
    )
    grants = [["app", "SELECT", False, ""], ["reader", "SELECT", True, "a"]]
    wanted = of(view("v", "a", grants=grants, owner="app", comment="it's"), trigger("t", enabled="D"))
    assert objects.dressing(now, wanted) == [
        "ALTER VIEW public.v OWNER TO app",
        "REVOKE SELECT ON TABLE public.v FROM PUBLIC",
        "GRANT SELECT (a) ON TABLE public.v TO reader WITH GRANT OPTION",
        "COMMENT ON VIEW public.v IS 'it''s'",
        "ALTER TABLE public.t DISABLE TRIGGER t",
    ]
    assert objects.dressing(wanted, wanted) == []


def test_what_was_changed_since_is_carried_along() -> None:
    before, after = of(view("v", "a", comment="old")), of(view("v", "a", "b", comment="old"))
    now = of(view("v", "a", "b", owner="app", comment="old"))
    carried = objects.carried(before, after, now)["view public.v"]
    assert (carried.owner, carried.shape, carried.comment) == ("app", ("a",), "old")
    assert objects.same(now["view public.v"], after["view public.v"]) and not objects.same(
        before["view public.v"], None
    )


def test_a_record_is_read_as_it_was_written() -> None:
    there = of(function("f", grants=[["PUBLIC", "EXECUTE", False, ""]]), view("v", "a", extras=["x"]), trigger("t"))
    assert objects.things(objects.kept(there)) == there
    assert len({t.sum for t in there.values()}) == 3


@given(st.lists(st.text(max_size=40), max_size=3), st.text(max_size=40))
def test_the_migration_says_exactly_these_statements(bodies: list[str], other: str) -> None:
    before = of(*(function(f"f{i}", other) for i, _body in enumerate(bodies)))
    after = of(*(function(f"f{i}", f"x{body}\n{body}") for i, body in enumerate(bodies)))
    made = migration.migration_of("name", before, after, "shop/tours/migrations", ["__init__", "0001_a", "0002_b"])
    assert made.path == "shop/tours/migrations/0003_hotfix_name.py"
    call = next(n for n in ast.walk(ast.parse(made.text)) if isinstance(n, ast.Call))
    said = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    assert said == {"sql": objects.leading(before, after), "reverse_sql": objects.leading(after, before)}
    assert 'dependencies = [("tours", "0002_b")]' in made.text and 'evenkeel_phase = "either"' in made.text


def test_where_the_migration_belongs() -> None:
    folders = {"tours/migrations": ["0001_initial"], "pay/migrations": []}
    assert migration.folder_of(folders, "") == "" and migration.folder_of(folders, "pay") == "pay/migrations"
    assert migration.folder_of({"tours/migrations": []}, "") == "tours/migrations"
    assert migration.migration_of("a-b.c", {}, of(function("f")), "", []).path == "APP/migrations/0001_hotfix_a_b_c.py"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("create or replace function s.f(a int) returns int language sql as 'x'", "function s.f"),
        ('CREATE RECURSIVE VIEW "V" (a) AS SELECT 1', "view V"),
        (
            "CREATE TRIGGER t BEFORE UPDATE OF a, b OR DELETE ON s.t WHEN (old.a ON) EXECUTE FUNCTION f()",
            "trigger t on s.t",
        ),
        ("DROP PROCEDURE IF EXISTS p(int, text), s.q RESTRICT", "function p, function s.q"),
        ("DROP TRIGGER IF EXISTS t ON x", "trigger t on x"),
    ],
)
def test_what_is_named(text: str, expected: str) -> None:
    assert ", ".join(str(n) for c in changes_of(text) for n in c.named) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "rows of its own"), ("CREATE TEMP VIEW v AS SELECT 1", "gone with the session"),
        ("DROP VIEW v CASCADE", "CASCADE"), ("DROP VIEW v w", "cannot be read"), ("ALTER VIEW v RENAME TO w", "none of what"),
        ("GRANT ALL ON f TO x", "none of what"), ("DO $$ $$", "works on rows"), ("SET search_path = x", "for a session"),
        ("CREATE FUNCTION pg_catalog.now() RETURNS int", "server's own"), ("CREATE VIEW a.b.c AS SELECT 1", "names a database"),
        ("CREATE TRIGGER t EXECUTE FUNCTION f()", "not written as"), ("CREATE FUNCTION", "has no name"), ("-- nothing", "no statement"),
        ("CREATE CONSTRAINT TRIGGER t AFTER INSERT ON x", "none of what"), ("VACUUM", "none of what"), ("frobnicate", "is no CREATE"),
    ],
)  # fmt: skip
def test_what_is_none_of_a_hotfix(text: str, expected: str) -> None:
    with pytest.raises(Refused, match=expected) as caught:
        changes_of(text)
    assert caught.value.advice


def test_a_check_is_one_query() -> None:
    assert checked_query(" SELECT 1 = 1; -- so\n") == "SELECT 1 = 1"
    for text in ("SELECT 1; SELECT 2", "UPDATE t SET a = 1", "", "SELECT '"):
        with pytest.raises(Refused):
            checked_query(text)
