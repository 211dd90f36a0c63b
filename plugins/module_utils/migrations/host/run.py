# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of migrating that changes something: what was judged is sent to be run, and what came of it told.

The order goes to the container that has told the plan.  There it is compared with what is pending once more, under the lock
of the database: what is run is exactly what was judged.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ...base.errors import BadInput
from ...django.host.oneoff import Talk
from ...engine.host.project import state_dir_of
from ...operation.host.journal import working
from ...operation.host.progress import Progress
from .. import column_types, database_host, expansion, summary
from ..inside import (
    bridges,
    casts,
    catalogue,
    column_defaults,
    contract,
    expand,
    ledger,
    moves,
    online,
    reverse,
    run,
    session,
)
from .request import Request
from .running_code import Code

Act = Callable[[], contextlib.AbstractContextManager[None]]

MODULES = (
    column_types,
    expansion,
    catalogue,
    column_defaults,
    bridges,
    ledger,
    session,
    casts,
    moves,
    online,
    expand,
    contract,
    reverse,
    run,
)


def carry_out(
    request: Request, talk: Talk, code: Code, report: Mapping[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    """Bring the databases into the state that is asked for.

    :param talk: with the container that has told the plan.
    :param report: what the plan's script has told; ``result``: the verdict on it, as the module returns it.
    :raises BadInput: it cannot be, and nothing was touched.
    """
    state, oneoff = request.state, talk.oneoff
    check_request(request, code, report, result)
    order = order_of(request, code, report, result)
    idle = all(not (d.get("migrations") or d.get("contract") or d.get("unfinished")) for d in order["databases"])
    if idle and state not in ("abandoned", "reversed"):
        return _waiting(request, result)
    directory = state_dir_of(request.lock, oneoff.project)
    with working(request.lock, directory, f"django_migrate of {oneoff.project}") as fence:
        progress = Progress.open(directory, request.progress.progress_id)

        def on_line(text: str, step: str, seconds: float) -> None:
            progress.say(text, step, oneoff.service, "", seconds)

        began, started = time.time(), time.monotonic()
        try:
            answer = talk.ordered(order, lambda: fence.act(f"migrations {state}"), on_line)
        finally:
            progress.close()
        result["timeline"].append(
            {
                "step": state,
                "service": oneoff.service,
                "container": "",
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
                "seconds": round(time.monotonic() - started, 3),
                "result": "failed" if _error(answer) else "ok",
            }
        )
        return fence.reported(ended(request, answer, report, code, result))


def noted(
    request: Request, talk: Talk, code: Code, report: Mapping[str, Any], planned: dict[str, Any], act: Act
) -> dict[str, Any]:
    """The verdict once it is written down that this code knows what earlier code has migrated, where no more is to be done.

    What is open is judged by who knows of it, so that has to be known; a container of its own for it is too dear.

    :param talk: with a container that has told the plan, as ``report``; ``planned``: the verdict on it.
    """
    if not planned.get("due") or planned["changes"]:
        return planned
    # A note waits for others only a little.
    asked = replace(request, state="expanded", lock_timeout=2.0, retries=2, wait=10.0)
    answer = talk.ordered(order_of(asked, code, report, planned), act, lambda *_line: None)
    result = ended(asked, answer, report, code, dict(planned))
    # Where it could not be, whoever migrates finds that to do, and says why it cannot.
    return planned if result.get("failed") else {**planned, "open": result["open"], "due": False}


def foresee(
    request: Request, talk: Talk | None, code: Code, report: Mapping[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    """The verdict with whether carrying it out would change something.

    :param talk: as in :func:`carry_out`, with state C(reversed), which is looked at where it is done.
    :raises BadInput: it would be refused.
    """
    check_request(request, code, report, result)
    order = order_of(request, code, report, result)
    if talk:
        answer = talk.ordered({**order, "look": True}, contextlib.nullcontext, lambda *_line: None)
        result = ended(request, answer, report, code, result)
        return {**result, "changed": bool(result["reverse"]) and not result.get("failed")}
    return {**result, "changed": any(d.get("migrations") or d.get("contract") for d in order["databases"])}


def check_request(request: Request, code: Code, report: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Check, before anything is touched, that the databases may be brought into the state that is asked for.

    :raises BadInput: they may not.
    """
    state = request.state
    if state == "expanded":
        refused = list(result["refused"])
        if request.additive_only:
            refused += [
                {**one, "reason": "additive_only is set, and it takes something away", "safe_way": ""}
                for one in expansion.only_additive(result["plan"])
            ]
        if refused:
            raise BadInput(*summary.refusal(refused))
    aliases = [d["alias"] for d in report["databases"] if not d.get("left_out")]
    canary = request.canary_database
    if canary and canary not in aliases:
        raise BadInput(f"canary_database: there is no database {canary}; there are {', '.join(aliases)}")
    if state == "reversed":
        if bool(request.target) == (request.only is not None):
            raise BadInput(
                "state: reversed needs the target to go back to, or only: the migrations that are taken back",
                "target: app.migration, or app.zero",
            )
        others = [d["alias"] for d in report["databases"] if d.get("vendor", "postgresql") != "postgresql"]
        if others:
            raise BadInput(f"only PostgreSQL is reversed, and {others[0]} is another kind", "name the databases")
    if state == "abandoned":
        only = request.release
        rows = [[r for r in d.get("ledger") or [] if only in ("", r["release"])] for d in report["databases"]]
        at = [c for found in rows for c in expansion.that_know(found, code.running)]
        if at:
            raise BadInput(
                f"{at[0]} runs the release that was expanded: what it was told is done would be undone under it",
                "go back to the version before first; then the same call",
            )


def order_of(request: Request, code: Code, report: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent to be run, from the verdict."""
    state = request.state
    databases = []
    for one in report["databases"]:
        if one.get("left_out"):
            continue
        alias, rows = one["alias"], one.get("ledger") or []
        pending = [m for m in one["migrations"] if not m.get("recorded")]
        words = {(m["app"], m["name"]): [o["operation"] for o in m["operations"]] for m in pending}
        order: dict[str, Any] = {"alias": alias, "to_record": one.get("to_record") or []}
        if state == "expanded":
            plan = [m for m in result["plan"] if m["database"] == alias]
            order["migrations"] = expansion.orders(plan, words, expansion.made(rows, {}))
        elif state == "migrated":
            plan = [m for m in result["plan"] if m["database"] == alias]
            order["migrations"] = expansion.at_once(plan, words)
            if not code.running:  # no code was made for what was before
                order["settle"] = [list(key) for key in words]
        elif state == "contracted":
            ready = [o for o in _asked(request, result["open"]) if o["database"] == alias and not o["waits_for"]]
            order["contract"] = [[o["app"], o["name"], o["index"]] for o in ready]
        if state in ("contracted", "expanded"):
            order["settle"] = [list(key) for key in expansion.served(rows, code.running)]
        order["unfinished"] = state in ("expanded", "migrated") and (
            bool(order["to_record"]) or expansion.unfinished(rows, code.revision, code.image)
        )
        claim = one.get("claim") or {}
        if code.host and claim.get("may"):
            order["claim"] = {"host": asdict(code.host), "seen": claim["detail"]}
            due = state in ("expanded", "migrated") and database_host.is_due(claim, code.host)
            order["unfinished"] = order["unfinished"] or due
        databases.append(order)
    canary = request.canary_database
    several = sum(bool(d.get("migrations")) for d in databases) > 1 or bool(canary)
    for order in databases:
        # One of several that fails goes back to where it was, so that no more than two states are about.
        order["take_back"] = several and state == "expanded"
    return {
        "state": state,
        "databases": [d for d in databases if canary in ("", d["alias"])],
        "only": list(request.only or ()) if state == "reversed" else request.release if state == "abandoned" else "",
        "nothing_written": request.nothing_written,
        "allowed": list(request.allow_data_loss),
        "running": [] if request.allow_downtime else list(code.running),
        "lock_timeout": max(1, round(request.lock_timeout * 1000)),
        "retries": max(0, request.retries),
        "wait": request.wait,
        "release": request.release or code.revision,
        "image": code.image,
        "target": request.target,
        "interrupted": {str(k): str(v) for k, v in request.interrupted.items()},
    }


def _asked(request: Request, found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of what is open, what this call is about."""
    return [o for o in found if o["moves"] or not request.only_data_moves]


def _waiting(request: Request, result: dict[str, Any]) -> dict[str, Any]:
    """Nothing is to be done now: because all is done, or because something waits."""
    waits = [o for o in _asked(request, result["open"]) if o["waits_for"]]
    if request.state == "contracted" and waits:
        result.update(failed=True, waits=True, msg=summary.waits(waits))
    elif request.state == "contracted":
        result["msg"] = "nothing is to be contracted"
    return result


def _error(answer: Mapping[str, Any]) -> dict[str, Any]:
    return next(({**d["error"], "alias": d["alias"]} for d in answer["databases"] if d.get("error")), {})


def ended(
    request: Request,
    answer: Mapping[str, Any],
    report: Mapping[str, Any],
    code: Code,
    result: dict[str, Any],
) -> dict[str, Any]:
    """What the module returns of what was run."""
    result["ran"] = _all(answer, "ran")
    result["contracted"] = _all(answer, "contracted")
    result["abandoned"] = _all(answer, "abandoned")
    result["reverse"], result["reversed"] = _all(answer, "reverse"), _all(answer, "reversed")
    result["taken_back"] = _all(answer, "taken_back")
    known = {d["alias"]: d.get("known") or {} for d in report["databases"] if not d.get("left_out")}
    ours = _new_words(report)
    taken_back = {d["alias"]: d.get("taken_back") or () for d in report["databases"] if not d.get("left_out")}
    result["open"] = [
        vars(o)
        for d in answer["databases"]
        for o in expansion.open_operations(
            d.get("ledger") or [], d["alias"], {**ours, **known.get(d["alias"], {})}, code.running,
            request.allow_data_loss, code.inactive, request.only, taken_back.get(d["alias"], ()),
        )
    ]  # fmt: skip
    unrecorded = any(a["unrecorded"] for a in result["abandoned"])
    result["changed"] = bool(result["ran"] or result["contracted"] or unrecorded or result["reversed"])
    error, waits = _error(answer), [o for o in _asked(request, result["open"]) if o["waits_for"]]
    if error:
        result.update(failed=True, msg=summary.failure(request.state, error, result))
        # Whoever did it meanwhile has ended: what is left is judged anew, once.
        result["again"] = error["kind"] == "changed" and not result["changed"]
    elif request.state == "contracted" and waits:
        result.update(failed=True, waits=True, msg=summary.waits(waits))
    else:
        result["msg"] = summary.success(request.state, result)
    return result


def _all(answer: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    return [{**one, "database": d["alias"]} for d in answer["databases"] for one in d.get(key) or []]


def _new_words(report: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    return {
        f"{m['app']}.{m['name']}": [o["operation"] for o in m["operations"]]
        for d in report["databases"]
        for m in d.get("migrations") or []
    }
