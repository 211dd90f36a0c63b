# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database has of functions, views and triggers, and the statements that lead from one such state to another. Pure.

Names and definitions are the server's own words (``pg_get_functiondef`` and its like, ``quote_ident``): nothing is quoted
here but a comment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

_VIEW, _TRIGGER = "view", "trigger"
_ENABLED = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}

#: Who (or PUBLIC), which privilege, whether it may be handed on, which column (empty for the whole).
Grant = tuple[str, str, bool, str]


@dataclass(frozen=True)
class Thing:
    """A function, procedure, view or trigger as the catalogue has it.

    :ivar kind: ``function``, ``procedure``, ``view`` or ``trigger``.
    :ivar sql_name: as a ``DROP`` names it: schema and types of arguments, or the table, with it.
    :ivar shape: of a view its columns, of a function its arguments and what it returns.
    :ivar extras: what hangs on a view and goes with it: triggers, rules, defaults, comments of columns.
    """

    kind: str
    schema: str
    name: str
    sql_name: str
    definition: str
    shape: tuple[str, ...] = ()
    owner: str = ""
    grants: tuple[Grant, ...] = ()
    comment: str | None = None
    enabled: str = ""
    table: str = ""
    extras: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.kind} {self.sql_name}"

    @property
    def sum(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()


#: Key → what is there; what is not there has no key.
Things = Mapping[str, Thing]


def thing(report: Mapping[str, Any]) -> Thing:
    """What the server, or the ledger, has told of one."""
    known = {name: report[name] for name in Thing.__dataclass_fields__ if name in report}
    grants = tuple(sorted((str(w), str(p), bool(o), str(c)) for w, p, o, c in report.get("grants") or ()))
    lists = {name: tuple(str(v) for v in report.get(name) or ()) for name in ("shape", "extras")}
    return Thing(**{**known, **lists, "grants": grants})


def things(report: Iterable[Mapping[str, Any]]) -> dict[str, Thing]:
    """The same for several, by their keys."""
    return {t.key: t for t in map(thing, report)}


def kept(there: Things) -> list[dict[str, Any]]:
    """What :func:`things` reads again."""
    return [asdict(t) for t in there.values()]


def differing(before: Things, after: Things) -> list[str]:
    """Keys of what is not the same, in the order of ``after``, what is gone last."""
    keys = [*after, *(k for k in before if k not in after)]
    return [k for k in keys if before.get(k) != after.get(k)]


def same(one: Thing | None, other: Thing | None) -> bool:
    """Whether both are the same but for whose they are and who may use them."""
    if one is None or other is None:
        return one is other
    return _same_text(one, other) and one.enabled == other.enabled


def carried(before: Things, after: Things, now: Things) -> dict[str, Thing]:
    """What was there before, with the owners, grants and comments that somebody has changed since."""
    found = {}
    for key, one in before.items():
        old, here = after.get(key), now.get(key)
        if old and here:
            since = {f: getattr(here, f) for f in ("owner", "grants", "comment") if getattr(here, f) != getattr(old, f)}
            one = replace(one, **since)
        found[key] = one
    return found


def belonging(before: Things, now: Things, anew: Iterable[str], owner: str) -> dict[str, Thing]:
    """What is there, as it should be owned: what was dropped and made anew as before, what is new like the app's tables.

    :param anew: keys of what is another object than before, by the catalogue's own number.
    :param owner: quoted; empty where what is new stays whose it is.
    """
    found = {}
    for key in anew:
        here, known = now[key], before.get(key)
        if known:
            found[key] = replace(
                here,
                owner=known.owner,
                grants=_of_columns(known.grants, here),
                comment=known.comment,
                enabled=known.enabled,
            )
        elif owner and here.owner:
            grants = sorted((owner if g[0] == here.owner else g[0], *g[1:]) for g in here.grants)
            found[key] = replace(here, owner=owner, grants=tuple(grants))
    return found


def _of_columns(grants: Sequence[Grant], there: Thing) -> tuple[Grant, ...]:
    """Without those of columns that are there no more."""
    return tuple(g for g in grants if not g[3] or any(s.startswith(f"{g[3]} ") for s in there.shape))


def only(there: Things, keys: Iterable[str]) -> dict[str, Thing]:
    """A part of them."""
    return {k: there[k] for k in keys if k in there}


def leading(now: Things, wanted: Things) -> list[str]:
    """Statements that make one state the other, each of which may be run where it is so already.

    What depends on another goes first and comes last. Of what was dropped on the way owner and grants have to be set after it:
    :func:`dressing`.
    """
    changed = [k for k in differing(now, wanted) if not _same_text(now.get(k), wanted.get(k))]
    gone = [now[k] for k in changed if k not in wanted]
    come = [wanted[k] for k in changed if k in wanted]
    made_anew = [t for t in come if t.key in now and not _replaceable(now[t.key], t)]
    functions = [t for t in come if t.kind not in (_VIEW, _TRIGGER)]
    views = [t for t in come if t.kind == _VIEW]
    triggers = [t for t in come if t.kind == _TRIGGER]
    drops = {t.key for t in made_anew if t.kind == _VIEW}
    words = [_drop(t) for t in [*(t for t in gone if t.kind == _TRIGGER), *triggers]]
    words += [_drop(t) for t in reversed([now[k] for k in changed if k in drops])]
    for one in functions:
        words += [_drop(one)] if one in made_anew else []
        words.append(one.definition)
    words += [t.definition for t in views]
    words += [_drop(t) for t in reversed([t for t in gone if t.kind == _VIEW])]
    words += [_drop(t) for t in reversed([t for t in gone if t.kind not in (_VIEW, _TRIGGER)])]
    return words + [t.definition for t in triggers]


def _same_text(now: Thing | None, wanted: Thing | None) -> bool:
    if now is None or wanted is None:
        return now is wanted
    return (now.definition, now.extras, now.shape) == (wanted.definition, wanted.extras, wanted.shape)


def _replaceable(now: Thing, wanted: Thing) -> bool:
    """Whether ``CREATE OR REPLACE`` makes one the other: a view may get columns at its end, a function keeps its shape."""
    if wanted.kind == _VIEW:
        return wanted.shape[: len(now.shape)] == now.shape
    return now.shape == wanted.shape


def _drop(one: Thing) -> str:
    return f"DROP {one.kind.upper()} IF EXISTS {one.sql_name}"


def dressing(now: Things, wanted: Things) -> list[str]:
    """Statements that give what is there the owners, grants, comments and states that it should have."""
    words: list[str] = []
    for key, one in wanted.items():
        here = now.get(key)
        if here is None:
            continue
        grants = here.grants
        if one.owner and here.owner != one.owner:
            words.append(f"ALTER {one.kind.upper()} {one.sql_name} OWNER TO {one.owner}")
            # What the owner may do goes along.
            grants = tuple((one.owner if g[0] == here.owner else g[0], *g[1:]) for g in grants)
        on = f"{'TABLE' if one.kind == _VIEW else one.kind.upper()} {one.sql_name}"
        words += [f"REVOKE {_right(g)} ON {on} FROM {g[0]}" for g in grants if g not in one.grants]
        words += [
            f"GRANT {_right(g)} ON {on} TO {g[0]}" + (" WITH GRANT OPTION" if g[2] else "")
            for g in one.grants
            if g not in grants
        ]
        if here.comment != one.comment:
            literal = "NULL" if one.comment is None else "'" + one.comment.replace("'", "''") + "'"
            words.append(f"COMMENT ON {one.kind.upper()} {one.sql_name} IS {literal}")
        if here.enabled != one.enabled and one.enabled in _ENABLED:
            name = one.sql_name[: -len(f" ON {one.table}")]
            words.append(f"ALTER TABLE {one.table} {_ENABLED[one.enabled]} TRIGGER {name}")
    return words


def _right(grant: Grant) -> str:
    return f"{grant[1]} ({grant[3]})" if grant[3] else grant[1]


def meant_external(asked: Sequence[tuple[str, str]], before: Things, after: Things) -> str:
    """Why a name without a schema has led to another place than it was meant for; empty where it has not.

    :param asked: kind and name of each that was named without one.
    """
    for kind, name in asked:
        known = {t.schema for t in before.values() if _kind(t) == kind and t.name == name}
        made = {t.schema for k, t in after.items() if k not in before and _kind(t) == kind and t.name == name}
        if known and made - known:
            return f"{name} would be made anew in {sorted(made - known)[0]}, and there is one in {', '.join(sorted(known))}"
    return ""


def _kind(one: Thing) -> str:
    return one.kind if one.kind in (_VIEW, _TRIGGER) else "function"


def text(before: Things, after: Things) -> str:
    """The definitions that change, as one text for each side of a diff is made of."""
    return "".join(
        f"-- {k}\n{after[k].definition}\n" if k in after else f"-- {k}: none\n" for k in differing(before, after)
    )
