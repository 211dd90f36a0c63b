# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was put off when a release was expanded, and when it may be run: never while code runs that does not know it.

Each migration that we run leaves a row with the releases that have it (``known_by``: revisions and ids of images).
A container knows a migration when its own revision or image is among them.  Everything follows from that: which code
serves while the next plan is judged, and whether what was put off may be run now.  Rows are as the app's database has
them (``migration_ledger_script``); this module is sent there as well, so it imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The index of the row that stands for the whole migration.
WHOLE = -1
OPEN = ("deferred", "between", "begun", "rising", "bridged")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Open:
    """An operation that was put off and has not been run, or whose bridge stands.

    :ivar waits_for: why it cannot be run now, empty where it can.
    :ivar moves: it moves rows in batches, and takes nothing away.
    :ivar bridge: the temporary DDL that stands for it, empty for none; :ivar words: what waits, for people.
    :ivar known: the image that was asked has its migration, as it was expanded.
    """

    app: str
    name: str
    database: str
    index: int
    operation: str
    state: str
    release: str
    since: str
    drops_data: bool
    waits_for: str
    moves: bool = False
    known: bool = True
    bridge: str = ""
    words: str = ""


#: What stands of an operation until it is contracted, by its bridge.
_STANDS = {
    "keep_default": "its default is kept",
    "set_default": "it has a default",
    "mirror_column": "there are both columns",
    "foreign_key": "what refers to deleted rows goes along",
    "synonym": "the table has both names",
}


def _key(row: Row) -> Any:
    return row["app"], row["name"]


def _wholes(rows: Iterable[Row]) -> dict[Any, Row]:
    return {_key(row): row for row in rows if row["index"] == WHOLE and row["app"]}


def knows(whole: Row, one: Row) -> bool:
    """Whether the code in a container was made for a migration."""
    known = {whole["release"], whole["image"], *(whole["detail"].get("known_by") or [])} - {""}
    return one["revision"] in known or one["image"] in known


def unserved(rows: Sequence[Row], running: Sequence[Row]) -> list[Any]:
    """Migrations that are recorded, but not known to all the code that runs: that code was made for what was before."""
    return [key for key, whole in _wholes(rows).items() if not all(knows(whole, one) for one in running)]


def served(rows: Sequence[Row], running: Sequence[Row]) -> list[Any]:
    """Migrations that all the code that runs was made for."""
    return [key for key, whole in _wholes(rows).items() if running and all(knows(whole, one) for one in running)]


def that_know(rows: Sequence[Row], running: Sequence[Row]) -> list[str]:
    """Containers whose code was made for a migration of which something is open."""
    unsettled = {_key(row) for row in rows if row["index"] != WHOLE and row["state"] in OPEN}
    wholes = [whole for key, whole in _wholes(rows).items() if key in unsettled]
    return [str(one["container"]) for one in running if any(knows(whole, one) for whole in wholes)]


def made(rows: Sequence[Row], recorded: Mapping[Any, int]) -> dict[Any, str]:
    """What was done with operations that no verdict is to be given on again, by app, name and index.

    :param recorded: migrations that the code that serves does not know, with the number of their operations.
    """
    wholes, found = _wholes(rows), {}
    for key, count in recorded.items():
        # What somebody else has run on top was run as Django does.
        actions = wholes[key]["detail"]["actions"] if key in wholes else [{"action": "now"}] * count
        found.update({(*key, index): str(action["action"]) for index, action in enumerate(actions[:count])})
    for row in rows:
        # Of a migration that was broken off in the middle.
        if row["index"] >= 0 and row["app"] and _key(row) not in wholes and row["state"] in (*OPEN, "done"):
            found[(*_key(row), row["index"])] = "defer" if row["state"] == "deferred" else "now"
    return found


def open_operations(
    rows: Sequence[Row],
    database: str,
    known: Mapping[str, Sequence[str]],
    running: Sequence[Row],
    allowed: Sequence[str] = (),
    inactive: str = "",
    only: Sequence[str] | None = None,
    taken_back: Sequence[Sequence[str]] = (),
) -> list[Open]:
    """What is put off, in the order in which it is to be run, each with what it waits for.

    :param known: the operations, in words, of the migrations that the image has, by ``app.name``.
    :param allowed: migrations, or operations (``app.name:index``), that may drop data.
    :param inactive: why the release that is asked is not the active one.
    :param only: migrations that the release has which comes next; None where none does.
    :param taken_back: migrations that are not recorded any more.
    """
    wholes, found = _wholes(rows), []
    waiting: set[str] = set()
    moving: set[str] = set()
    for row in rows:
        if row["index"] < 0 or not row["app"] or row["state"] not in OPEN:
            continue
        whole = wholes.get(_key(row))
        reason = _reason(row, whole, known, running, allowed, inactive)
        if [row["app"], row["name"]] in [list(key) for key in taken_back]:
            reason = "somebody has taken its migration back by plain migrate: state abandoned forgets it"
        if not reason and only is not None and f"{row['app']}.{row['name']}" not in only:
            reason = "the release that comes does not have it: its code may need it"
        # Rows are moved by models as the code that serves has them, which works whether the others are done or not.
        if not reason and row["app"] in (moving if _moves(row) else waiting):
            reason = "what comes before it in its app waits"
        if reason:
            waiting.add(row["app"])
            if _moves(row):
                moving.add(row["app"])
        found.append(
            Open(
                row["app"], row["name"], database, row["index"], row["operation"], row["state"], row["release"],
                row["since"], bool(row["detail"].get("drops_data")), reason,
                _moves(row),
                _is_known(row, known),
                str(row["detail"].get("bridge") or ""),
                _words(row),
            )
        )  # fmt: skip
    return found


def _words(row: Row) -> str:
    stands = _STANDS.get(str(row["detail"].get("bridge") or ""), "")
    return f"{row['operation']} ({stands})" if stands else str(row["operation"])


def unrecorded(rows: Sequence[Row], recorded: Collection[Any]) -> list[Any]:
    """Migrations of ours that somebody has taken back by plain ``migrate``."""
    return [key for key in _wholes(rows) if key not in recorded]


def _moves(row: Row) -> bool:
    return bool(row["detail"].get("method") == "batches" and row["detail"].get("phase") == "between")


def _is_known(row: Row, known: Mapping[str, Sequence[str]]) -> bool:
    """Whether the image has an operation as it was expanded."""
    words = known.get(f"{row['app']}.{row['name']}", ())
    return bool(row["index"] < len(words) and words[row["index"]] == row["operation"])


def _reason(
    row: Row,
    whole: Row | None,
    known: Mapping[str, Sequence[str]],
    running: Sequence[Row],
    allowed: Sequence[str],
    inactive: str,
) -> str:
    name = f"{row['app']}.{row['name']}"
    if whole is None:
        return "its migration was broken off in the middle: expand ends it"
    if row["state"] == "between":
        return ""  # it has been run; what is left keeps nobody from anything
    if row["state"] == "rising":
        return "its bridge is not finished: expand ends it"
    if inactive:
        return inactive
    if name not in known:
        return f"this image does not have {name}, which was expanded for {_short(row['release'])}: its code may need it"
    if not _is_known(row, known):
        return f"{name} is another one in this image than the one that was expanded for {_short(row['release'])}"
    old = [one for one in running if not knows(whole, one)]
    if old:
        return f"{old[0]['container']} runs {_code(old[0])}, which was made before it"
    if row["detail"].get("drops_data") and not {name, f"{name}:{row['index']}"} & set(allowed):
        return f"it drops data: name {name} in allow_data_loss"
    return ""


def _short(revision: str) -> str:
    return revision[:12] or "another release"


def _code(one: Row) -> str:
    return str(one["revision"])[:12] or f"image {str(one['image'])[7:19]}"


# -- what is sent to be run ---------------------------------------------------------------------------------------


def orders(plan: Sequence[Mapping[str, Any]], words: Mapping[Any, Sequence[str]], kept: Mapping[Any, str]) -> list[Any]:
    """What is to be done with each pending migration of one database, in order.

    :param words: all operations of a migration in words.
    :param kept: what was done before with some of them; see :func:`made`.
    """
    found = []
    for one in plan:
        key = (one["app"], one["name"])
        judged = {o["index"]: o for o in one["operations"]}
        actions = []
        for index in range(len(words[key])):
            verdict = judged.get(index) or {"action": kept.get((*key, index), "now")}
            actions.append(
                {
                    "action": verdict["action"],
                    "method": verdict.get("method", ""),
                    "drops_data": bool(verdict.get("drops_data")),
                    "phase": verdict.get("phase", ""),
                    "bridge": str(verdict.get("bridge") or ""),
                    "reversible": bool(verdict.get("reversible", False)),
                    # For who comes back, whose deletes it is about for as long as the rows are there.
                    "beware": str(verdict.get("beware") or ""),
                }
            )
        found.append({"app": one["app"], "name": one["name"], "operations": list(words[key]), "actions": actions})
    return found


def at_once(plan: Sequence[Mapping[str, Any]], words: Mapping[Any, Sequence[str]]) -> list[Any]:
    """The same, with everything run as Django runs it; what was judged of it is kept for who wants to go back."""
    found = orders(plan, words, {})
    for one in found:
        for action in one["actions"]:
            # Without its bridge it is what neither code survives.
            phase = "downtime" if action["bridge"] else action["phase"]
            action.update(action="now", method="", bridge="", phase=phase)
    return found


def only_additive(plan: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What of a plan takes something away, for those who want none of that."""
    return [
        {"app": m["app"], "name": m["name"], "database": m["database"], **o}
        for m in plan
        for o in m["operations"]
        if (o["action"] == "defer" and o["phase"] != "between") or o["drops_data"]
    ]


def unfinished(rows: Sequence[Row], release: str, image: str) -> bool:
    """Whether an expand has to be run though nothing is pending: to end what one has begun, or to be known by all."""
    for row in rows:
        whole = row["index"] == WHOLE and row["app"]
        if row["state"] in ("between", "begun", "rising") or (row["state"] == "abandoned" and whole):
            return True
        known = row["detail"].get("known_by") or []
        if whole and not {release, image} - {""} <= {row["release"], row["image"], *known}:
            return True
    return False
