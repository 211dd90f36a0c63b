# SPDX-License-Identifier: GPL-3.0-or-later
"""When what was put off may be run, who is told what, and which form statements take on a big table."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import expansion, summary
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.inside.online import online
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.inside.session import first_words


def row(
    index: int, state: str, release: str = "r1", operation: str = "Remove field a", **detail: Any
) -> dict[str, Any]:
    detail = (
        {"operations": ["Remove field a"], "actions": [{"action": "defer"}]} if index < 0 and not detail else detail
    )
    return {"app": "shop", "name": "0002_x", "index": index, "operation": operation, "state": state, "release": release,
            "image": f"sha256:{release}", "since": "2026-11-20T00:00:00+00:00", "detail": detail}  # fmt: skip


def container(revision: str, image: str = "") -> dict[str, str]:
    return {"container": f"api-{revision or image}", "revision": revision, "image": image or f"sha256:{revision}"}


ROWS = [row(-1, "expanded"), row(0, "deferred", drops_data=True)]
KNOWN = {"shop.0002_x": ["Remove field a"]}


def why(
    rows: list[dict[str, Any]], known: Any, running: Any, allowed: Any = ("shop.0002_x",), inactive: str = ""
) -> str:
    (found,) = expansion.open_operations(rows, "default", known, running, allowed, inactive)
    return found.waits_for


def test_it_runs_when_all_code_was_made_for_it_and_it_is_named() -> None:
    assert why(ROWS, KNOWN, [container("r1")]) == ""
    assert why(ROWS, KNOWN, [container("r1")], ["shop.0002_x:0"]) == ""
    assert why(ROWS, KNOWN, []) == ""
    assert "drops data" in why(ROWS, KNOWN, [container("r1")], [])
    assert "drops data" in why(ROWS, KNOWN, [container("r1")], ["shop.0002_x:1"])


def test_a_single_container_that_was_made_before_it_keeps_it_waiting() -> None:
    said = why(ROWS, KNOWN, [container("r1"), container("r0")])
    assert said == "api-r0 runs r0, which was made before it"
    # Without a revision it is known by its image.
    assert why(ROWS, KNOWN, [container("", "sha256:r1")]) == ""
    assert "runs image 000000000000" in why(ROWS, KNOWN, [container("", "sha256:" + "0" * 64)])


def test_an_image_that_does_not_have_it_or_has_another_one_keeps_it_waiting() -> None:
    assert "this image does not have shop.0002_x" in why(ROWS, {}, [container("r1")])
    assert "is another one" in why(ROWS, {"shop.0002_x": ["Remove field b"]}, [container("r1")])
    assert why(ROWS, KNOWN, [container("r1")], inactive="another release is active: r0").startswith("another release")


def test_a_later_release_that_has_it_knows_it_too() -> None:
    later = [row(-1, "expanded", known_by=["r2", "sha256:r2"], operations=[], actions=[]), ROWS[1]]
    assert why(later, KNOWN, [container("r2"), container("r1")]) == ""
    assert expansion.unserved(later, [container("r2")]) == []
    assert expansion.unserved(later, [container("r3")]) == [("shop", "0002_x")]
    assert expansion.served(later, [container("r2")]) == [("shop", "0002_x")] and expansion.served(later, []) == []


def test_what_comes_after_something_that_waits_in_its_app_waits_too() -> None:
    rows = [*ROWS, row(1, "deferred", operation="Alter field b")]
    known = {"shop.0002_x": ["Remove field a", "Alter field b"]}
    first, second = expansion.open_operations(rows, "default", known, [container("r1")])
    assert "drops data" in first.waits_for and second.waits_for == "what comes before it in its app waits"


def test_no_verdict_is_given_again_on_what_was_done() -> None:
    assert expansion.made(ROWS, {("shop", "0002_x"): 1}) == {("shop", "0002_x", 0): "defer"}
    assert expansion.made([], {("shop", "0003_plain"): 2}) == {
        ("shop", "0003_plain", 0): "now", ("shop", "0003_plain", 1): "now"
    }  # fmt: skip
    half = [row(0, "done"), row(1, "deferred"), row(2, "begun")]
    assert [expansion.made(half, {})[("shop", "0002_x", n)] for n in range(3)] == ["now", "defer", "now"]


def test_an_order_has_every_operation_of_a_migration_judged_now_or_done_before() -> None:
    plan = [{"app": "shop", "name": "0002_x", "operations": [
        {"index": 1, "action": "defer", "method": "concurrently", "drops_data": True, "phase": "after"}]}]  # fmt: skip
    (order,) = expansion.orders(plan, {("shop", "0002_x"): ["a", "b"]}, {("shop", "0002_x", 0): "now"})
    assert [(a["action"], a["method"]) for a in order["actions"]] == [("now", ""), ("defer", "concurrently")]


def test_an_expand_is_due_until_everything_is_ended_and_known() -> None:
    assert not expansion.unfinished(ROWS, "r1", "sha256:r1")
    assert expansion.unfinished(ROWS, "r2", "sha256:r2")
    assert expansion.unfinished([row(0, "between")], "r1", "sha256:r1")
    assert expansion.unfinished([row(-1, "abandoned")], "r1", "sha256:r1")


@pytest.mark.parametrize(
    ("sql", "within", "after"),
    [
        ('CREATE INDEX "i" ON "t" ("a") WHERE "a" > 1', [], ['CREATE INDEX CONCURRENTLY "i" ON "t" ("a") WHERE "a" > 1']),
        ('CREATE UNIQUE INDEX "i" ON "t" (lower("a"))', [], ['CREATE UNIQUE INDEX CONCURRENTLY "i" ON "t" (lower("a"))']),
        (
            'ALTER TABLE "t" ADD CONSTRAINT "u" UNIQUE ("a", "b") DEFERRABLE INITIALLY DEFERRED',
            [],
            [
                'CREATE UNIQUE INDEX CONCURRENTLY "u" ON "t" ("a", "b")',
                'ALTER TABLE "t" ADD CONSTRAINT "u" UNIQUE USING INDEX "u" DEFERRABLE INITIALLY DEFERRED',
            ],
        ),
        (
            'ALTER TABLE "t" ADD CONSTRAINT "u" UNIQUE NULLS NOT DISTINCT ("a")',
            [],
            [
                'CREATE UNIQUE INDEX CONCURRENTLY "u" ON "t" ("a") NULLS NOT DISTINCT',
                'ALTER TABLE "t" ADD CONSTRAINT "u" UNIQUE USING INDEX "u"',
            ],
        ),
        (
            'ALTER TABLE "t" ADD CONSTRAINT "c" CHECK ("a" > 0)',
            ['ALTER TABLE "t" ADD CONSTRAINT "c" CHECK ("a" > 0) NOT VALID'],
            ['ALTER TABLE "t" VALIDATE CONSTRAINT "c"'],
        ),
        (
            'ALTER TABLE "t" ADD CONSTRAINT "f" FOREIGN KEY ("a") REFERENCES "u" ("id") DEFERRABLE INITIALLY DEFERRED;',
            ['ALTER TABLE "t" ADD CONSTRAINT "f" FOREIGN KEY ("a") REFERENCES "u" ("id") DEFERRABLE INITIALLY DEFERRED NOT VALID'],
            ['ALTER TABLE "t" VALIDATE CONSTRAINT "f"'],
        ),
    ],
)  # fmt: skip
def test_what_would_block_is_parted_into_what_does_not(sql: str, within: list[str], after: list[str]) -> None:
    found = online(sql)
    assert found is not None
    assert (found[0], [step["sql"] for step in found[1]]) == (within, after)


def test_not_null_comes_by_a_rule_that_is_checked_beside_the_traffic() -> None:
    found = online('ALTER TABLE "t" ALTER COLUMN "a" SET NOT NULL')
    assert found is not None and found[0] == []
    texts = [step["sql"] for step in found[1]]
    assert texts[0].endswith('CHECK ("a" IS NOT NULL) NOT VALID') and "VALIDATE" in texts[1]
    assert texts[2] == 'ALTER TABLE "t" ALTER COLUMN "a" SET NOT NULL' and "DROP CONSTRAINT" in texts[3]


@pytest.mark.parametrize("sql", ['ALTER TABLE "t" ADD COLUMN "a" integer', 'ALTER TABLE "t" ADD CONSTRAINT "e" EXCLUDE (x WITH &&)',
                                 'CREATE INDEX CONCURRENTLY "i" ON "t" ("a")', 'UPDATE "t" SET "a" = 1'])  # fmt: skip
def test_other_statements_stay_as_they_are(sql: str) -> None:
    assert online(sql) is None


def test_of_a_query_only_its_first_words_are_told() -> None:
    assert first_words("UPDATE users SET token = 'hunter2'") == "UPDATE users SET token"
    assert first_words("SELECT *\n FROM shop_item WHERE id=7") == "SELECT * FROM shop_item WHERE id"
    assert first_words("/* secret */ SELECT 1") == ""
    assert first_words("COPY t FROM STDIN $$hunter2$$") == "COPY t FROM STDIN"


@pytest.mark.parametrize(
    "kind", ["lock", "busy", "changed", "edited", "interrupted", "signals", "limit", "command", "failed"]
)
def test_each_failure_says_what_now_and_next(kind: str) -> None:
    error = {"kind": kind, "what": "x", "attempts": 3, "who": "y", "alias": "default", "migration": "shop.0002", "index": 0,
             "operation": "z", "words": "w", "found": 1, "wanted": 2, "module": "m", "at": "shop.0002"}  # fmt: skip
    text = summary.failure("expanded", error, {"ran": [], "contracted": []})
    assert [line.split(":")[0] for line in text.splitlines()] == ["What", "Now", "Next"]
    assert "None" not in text


def test_a_default_that_is_filled_in_is_parted_too() -> None:
    found = online("""UPDATE "t" SET "a" = 'x' WHERE "a" IS NULL; """)
    assert found is not None and found[1][0]["fill"] == '"t"' and found[1][0]["value"] == "'x'"
    assert online("""UPDATE "t" SET "a" = 'x' WHERE "b" IS NULL""") is None
    for sql in (
        """ALTER TABLE "t" ALTER COLUMN "a" SET DEFAULT 'x'""",
        'ALTER TABLE "t" ALTER COLUMN "a" DROP DEFAULT',
    ):
        assert online(sql) == ([], [{"sql": sql}])


def test_rows_are_moved_whatever_waits_before_them_but_in_their_own_order() -> None:
    batches = {"method": "batches", "phase": "between"}

    def one(name: str, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**r, "name": name} for r in rows]

    rows = [*one("0002_x", *ROWS), *one("0003_y", row(-1, "expanded"), row(0, "deferred", **batches)),
            *one("0004_z", row(-1, "expanded"), row(0, "deferred", phase="after"))]  # fmt: skip
    known = {f"shop.{name}": ["Remove field a"] for name in ("0002_x", "0003_y", "0004_z")}
    found = expansion.open_operations(rows, "default", known, [container("r1")])
    assert [(o.moves, bool(o.waits_for)) for o in found] == [(False, True), (True, False), (False, True)]
    # One that cannot run yet keeps those after it.
    rows[3] = {**rows[3], "operation": "Another"}
    rows[5] = {**rows[5], "detail": batches}
    found = expansion.open_operations(rows, "default", known, [container("r1")])
    assert [(o.moves, bool(o.waits_for)) for o in found] == [(False, True), (True, True), (True, True)]
