# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: what was decided is carried out, database by database; one line tells the end.

What was decided comes through stdin, so that nothing of it is in an argument list.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from . import expand
from .contract import Abandon, Contract, settle
from .expand import finish
from .ledger import Ledger
from .reverse import Reverse
from .session import Session, Stopped, words_of


def _executor(connection: Any) -> Any:
    from django.db.migrations.executor import MigrationExecutor

    return MigrationExecutor(connection)


def _expand(run: expand.Run, order: dict[str, Any], one: dict[str, Any]) -> None:
    """End what an earlier call has begun, then run what is pending."""
    if run.order:
        run.ledger.make()
    executor = _executor(run.session.connection)
    for row in run.ledger.rows():
        known = executor.loader.graph.nodes.get((row["app"], row["name"]))
        if row["state"] in ("between", "rising") and (row["app"], row["name"]) in executor.loader.applied_migrations:
            run.at = f"{row['app']}.{row['name']}"
            finish(run.session, run.ledger, row)
        elif row["state"] == "abandoned" and known is not None and row["index"] < 0:
            if expand.words_in(known) != row["detail"]["operations"]:
                raise Stopped("edited", migration=expand.said(known))
            run.take_up(known)
            run.ledger.learn(*expand.key_of(known), row["detail"])
        elif known is not None and row["index"] < 0 and expand.words_in(known) == row["detail"]["operations"]:
            run.ledger.learn(*expand.key_of(known), row["detail"])
    target = [word for word in str(order.get("target") or "").split(".", 1) if word]
    owed = run.ledger.row(*expand.SIGNALS) is not None
    leaves = executor.loader.graph.leaf_nodes() if not target else None
    if leaves is not None:
        run.hold_to(executor.migration_plan(leaves))
    if run.order or owed or one.get("to_record"):
        expand.migrate(run, target)


def _plainly(connection: Any, order: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    """A database of another kind: what was judged to change nothing in it, or everything in a window."""
    from django.core.management import call_command

    if order["state"] not in ("expanded", "migrated") or not (one.get("migrations") or one.get("to_record")):
        return {}
    try:
        call_command("migrate", database=connection.alias, interactive=False, verbosity=0)
    except Exception as error:  # a migration of the app's that fails
        return {"error": {"kind": "failed", "words": words_of(error), "at": ""}}
    ran = [{"app": m["app"], "name": m["name"], "seconds": 0.0, "deferred": 0} for m in one.get("migrations") or []]
    return {"ran": ran}


def database(connection: Any, order: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    """Carry out what was decided for one database."""
    report: dict[str, Any] = {"alias": connection.alias}
    if connection.vendor != "postgresql":
        return {**report, **_plainly(connection, order, one)}
    session = Session(connection, int(order["lock_timeout"]), int(order["retries"]))
    ledger = Ledger(connection, order["release"], order["image"])
    run = expand.Run(session, ledger, one.get("migrations") or [], order.get("interrupted") or {}, order["allowed"])
    contract = abandon = reverse = None
    try:
        session.limit()
        session.hold(float(order["wait"]))
        if one.get("claim") and not order.get("look"):
            _claim(ledger, one["claim"], order["state"] in ("expanded", "migrated"))
        if order["state"] in ("expanded", "migrated"):
            _expand(run, order, one)
        elif order["state"] == "contracted":
            contract = Contract(run, _executor(connection), one.get("contract") or [])
            contract.run()
        elif order["state"] == "abandoned" and ledger.there():
            abandon = Abandon(run, _executor(connection))
            abandon.run(release=order.get("only") or "")
        elif order["state"] == "reversed":
            reverse = Reverse(run, _executor(connection), order)
            report["reverse"] = reverse.look()
            if not order.get("look"):
                _hold_to(report["reverse"])
                reverse.run()
        if one.get("settle") and ledger.there():
            settle(ledger, one["settle"])
    except Stopped as error:
        report["error"] = error.reported
    except Exception as error:  # a migration of the app's that fails, or one of its receivers
        kind = "signals" if run.ended else "failed"
        report["error"] = {"kind": kind, "words": words_of(error)}
    report["ran"] = run.ran
    report["contracted"] = contract.done if contract else []
    report["abandoned"] = abandon.reported if abandon else []
    report["reversed"] = reverse.done if reverse else []
    if report.get("error"):
        report["error"]["at"] = run.at
        if one.get("take_back") and run.ran:
            _take_back(run, report)
    try:
        report["ledger"] = ledger.rows()
        session.release()
    except Exception as error:  # the connection is gone: what is there the next call will see
        report.setdefault("error", {"kind": "failed", "words": words_of(error), "at": run.at})
    return report


def _claim(ledger: Ledger, claim: dict[str, Any], make: bool) -> None:
    """:raises Stopped: another host has claimed the database since the plan was told; nothing was touched."""
    if make:
        ledger.make()
    if ledger.there() and not ledger.take(claim["host"], claim["seen"]):
        raise Stopped("host")


def _hold_to(seen: list[dict[str, Any]]) -> None:
    """:raises Stopped: something is in the way of what would be taken back; nothing was touched."""
    for one in seen:
        if one["why"]:
            raise Stopped("irreversible", migration=f"{one['app']}.{one['name']}", why=one["why"])


def _take_back(run: expand.Run, report: dict[str, Any]) -> None:
    """One database of several has failed: what this call has run there is taken back where no row is lost."""
    keys = [(one["app"], one["name"]) for one in run.ran]
    try:
        abandon = Abandon(run, _executor(run.session.connection))
        abandon.run(keys)
    except Exception as error:  # it stays expanded, which the code that serves works with
        report["error"]["kept"] = words_of(error)
        return
    back = {(one["app"], one["name"]) for one in abandon.reported if one["unrecorded"]}
    report["taken_back"] = [one for one in abandon.reported if one["unrecorded"]]
    report["ran"] = [one for one in run.ran if (one["app"], one["name"]) not in back]


def main() -> None:
    """Read an order and carry it out."""
    carry_out(json.load(sys.stdin))


def carry_out(order: dict[str, Any]) -> None:
    """Do what was decided, database by database, and print the end."""
    from django.db import connections

    report: dict[str, Any] = {"databases": []}
    if order["state"] == "reversed" and not order.get("look"):
        # All of them are looked at before anything is touched in one.
        for one in order["databases"]:
            seen = database(connections[one["alias"]], {**order, "look": True}, one)
            try:
                _hold_to(seen.get("reverse") or [])
            except Stopped as error:
                seen["error"] = {**error.reported, "at": ""}
            if seen.get("error"):
                report["databases"].append(seen)
                break
    for one in [] if report["databases"] else order["databases"]:
        report["databases"].append(database(connections[one["alias"]], order, one))
        if report["databases"][-1].get("error"):
            break
    sys.stdout.write("\nEVENKEEL " + json.dumps(report, default=str) + "\n")
    sys.stdout.flush()
