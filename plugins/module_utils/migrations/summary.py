# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read of migrations that were run, or were not: what happened, what it means now, what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_AGAIN = "the same command again takes up from there"
_SERVES = "the code that serves goes on working with the database as it is"


def _three(what: str, now: str, next_: str) -> str:
    return f"What: {what}\nNow: {now}\nNext: {next_}"


def refusal(refused: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Why nothing was run, and the ways out."""
    lines = [f"{o['app']}.{o['name']}, {o['operation']}: {o['reason']}" for o in refused]
    ways = dict.fromkeys(f"{o['app']}.{o['name']}: {o['safe_way']}" for o in refused if o["safe_way"])
    what = f"{len(refused)} of the pending operations cannot run beside the code that serves: " + "; ".join(lines)
    return what, "; ".join([*ways, "or state: migrated in a window (update_allow_downtime)"])


def _done(result: Mapping[str, Any]) -> str:
    """What was done of it before it stopped."""
    several = len({one["database"] for one in result["ran"]}) > 1 or result.get("taken_back")
    ran = [f"{one['app']}.{one['name']}" + (f" in {one['database']}" if several else "") for one in result["ran"]]
    ran += [f"{one['app']}.{one['name']}: {one['operation']}" for one in result["contracted"]]
    ran += [f"{one['app']}.{one['name']} taken back" for one in result.get("reversed") or []]
    back = [f"{one['app']}.{one['name']} in {one['database']}" for one in result.get("taken_back") or []]
    lines = [f"done and kept: {', '.join(ran)}" if ran else "", f"taken back: {', '.join(back)}" if back else ""]
    return "; ".join(text for text in lines if text) or "nothing was changed"


def failure(state: str, error: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Why it stopped, from what the script told."""
    kind, at, done = error["kind"], error.get("at") or "", _done(result)
    who = error.get("who") or "nobody that could be seen"
    if kind == "lock":
        return _three(
            f"{error['what']} was not given its lock in {error['attempts']} attempts; in the way was {who}",
            f"{done}; {_SERVES}",
            f"end that session or wait for it; {_AGAIN}",
        )
    if kind == "busy":
        return _three(
            f"another migration works on the database {error['alias']}: {who}", f"{done}; {_SERVES}",
            "wait until it has ended; then the same command again",
        )  # fmt: skip
    if kind == "host":
        return _three(
            f"another host has claimed the database {error['alias']} since it was looked at",
            f"{done}; {_SERVES}",
            "the same command again names that host, and the ways out",
        )
    if kind == "changed":
        return _three(
            f"what is pending is not what was judged any more ({error['what']}): somebody else has migrated meanwhile",
            f"{done}; {_SERVES}",
            "the same command again judges anew",
        )
    if kind == "edited":
        return _three(
            f"{error['migration']} was changed after it had been expanded",
            f"{done}; {_SERVES}",
            "state: abandoned with the image of that release takes back what can be; or give the new one another name",
        )
    if kind == "interrupted":
        place = f"{error['migration']}:{error['index']}"
        words = f": {error['words']}" if error.get("words") else ", and was broken off"
        return _three(
            f"{error['migration']}, {error['operation']}, had begun outside of a transaction{words}; whether it has done "
            "its work only its author can see",
            f"{done}; it is not begun again by itself; {_SERVES}",
            f"look at what it was to change, then interrupted: {{{place}: again}} or {{{place}: done}}",
        )
    if kind == "signals":
        return _three(
            f"all migrations were run, and then a receiver of post_migrate failed: {error['words']}",
            f"the migrations are applied; {done}",
            f"correct that receiver; {_AGAIN}, with the signals alone",
        )
    if kind == "limit":
        return _three(
            f"lock_timeout does not hold in the database {error['alias']}: it is {error['found']} ms, not "
            f"{error['wanted']} ms",
            f"{done}; {_SERVES}",
            "something sets it for each statement: a pooler, or a receiver of connection_created; let migrations go "
            "around it",
        )
    if kind == "command":
        return _three(
            f"the app has a migrate command of its own that is none of Django's ({error['module']})",
            f"{done}; {_SERVES}",
            "migrate with it by hand, or let it inherit from Django's",
        )
    if kind == "target":
        return _three(f"target: {error['words']}", f"{done}; {_SERVES}", "name app.migration, or app.zero")
    if kind == "irreversible":
        return _three(
            f"{error['migration']} is not taken back: {error['why']}",
            f"{done}; {_SERVES}",
            "settle that, then the same command; what was lost only a backup has; in a window allow_downtime",
        )
    if kind == "loses":
        return _three(
            f"{error['migration']} would cut or round {error['column']} of {error['count']} rows, which do not fit into "
            f"{error['type']}",
            f"it was rolled back; {done}; {_SERVES}",
            f"see them: {error['query']}; correct them, or name {error['migration']} in allow_data_loss; {_AGAIN}",
        )
    where = f"{at} failed" if at else "it failed"
    return _three(
        f"{where}: {error.get('words') or kind}",
        f"{at} was rolled back; {done}; {_SERVES}" if at else f"{done}; {_SERVES}",
        f"correct it; {_AGAIN}",
    )


def waits(waiting: Sequence[Mapping[str, Any]]) -> str:
    """What was not contracted, each with what it waits for."""
    lines = [f"{o['app']}.{o['name']}, {o['words']}, waits: {o['waits_for']}" for o in waiting]
    return _three(
        "; ".join(lines),
        f"what waits was not touched; {_SERVES}",
        "the same command again when that is settled; after a rollback state: abandoned",
    )


def success(state: str, result: Mapping[str, Any]) -> str:
    """What was done, in a sentence."""
    waiting = len(result["open"])
    left = f"; {waiting} operations wait for contract" if waiting else ""
    if state == "contracted":
        return f"{len(result['contracted'])} operations that had been put off are done{left}"
    if state == "abandoned":
        back = [f"{a['app']}.{a['name']}" for a in result["abandoned"] if a["unrecorded"]]
        aside = [f"{a['app']}.{a['name']} ({a['why']})" for a in result["abandoned"] if not a["unrecorded"]]
        texts = [f"taken back: {', '.join(back)}" if back else "", f"put aside: {', '.join(aside)}" if aside else ""]
        return "; ".join(text for text in texts if text) or "nothing was put off"
    if state == "reversed":
        found = result["reversed"] or result["reverse"]
        names = ", ".join(f"{one['app']}.{one['name']}" for one in found)
        word = "were" if result["reversed"] else "would be"
        return f"{len(found)} migrations {word} taken back: {names}" if found else "nothing is to be taken back"
    return f"{len(result['ran'])} migrations were run{left}" if result["ran"] else f"no migration was pending{left}"
