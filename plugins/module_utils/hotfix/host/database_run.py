# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hotfix of the database, applied and taken back in one transaction each, and what the ledger knows of it.

What was there is written down before anything is changed, and what will be there before it is committed.  So a run that was
killed is taken up by comparing the catalogue with both.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from ...base.errors import BadInput
from ...operation.host.records import iso
from ...postgres.host.server import Server, asked
from .. import database_objects as objects
from ..database import FUNCTION, VIEW, Change, Named, all_named
from ..database_objects import Thing
from . import database_catalogue as catalogue
from . import ledger as hotfix_ledger
from .database_session import Failed, Transaction

DATABASE = "database"
APPLYING, COMMITTING, APPLIED = "applying", "committing", "applied"
#: Seconds between two attempts to get a lock: who has waited behind the first goes first.
RETRY_PAUSE = 1.0
_AGAIN = "run the same command again"
_Done = TypeVar("_Done")


class Unknown(BadInput):
    """The session ended while it committed."""

    def message(self) -> str:
        """As that of any refusal, but that it may be there."""
        return (
            super()
            .message()
            .replace(
                "Now: nothing was touched, what was serving still is",
                "Now: it is there as a whole or not at all, and what was there before is kept",
            )
        )


@dataclass(frozen=True)
class Limits:
    """Seconds, and how often a lock is asked for."""

    lock: float
    statement: float
    retries: int
    whole: float


@dataclass(frozen=True)
class Outcome:
    """What a call has done, or would do."""

    changed: bool
    before: Mapping[str, Thing]
    after: Mapping[str, Thing]
    notes: list[str] = field(default_factory=list)


class Ledger:
    """What is remembered of one hotfix.

    :ivar untried: why staging has not tried it, where that was asked for.
    :param place: the database, for people and to compare; ``by`` are the arguments that it is found by again.
    """

    def __init__(self, state_dir: str, name: str, place: str, by: Mapping[str, str]) -> None:
        self.state_dir, self.name, self.place, self.by = state_dir, name, place, by
        self.untried = ""
        self.known: dict[str, Any] = hotfix_ledger.read(state_dir, name)

    @property
    def record(self) -> dict[str, Any]:
        """How far it is; empty where it is not, or was taken back."""
        return {} if self.known.get("reverted") else dict(self.known.get(DATABASE) or {})

    def things(self, which: str) -> dict[str, Thing]:
        """``before`` or ``after``."""
        return objects.things(self.record.get(which) or ())

    @property
    def named(self) -> list[Named]:
        return [Named(**n) for n in self.record.get("named") or ()]

    def later_on(self, keys: Sequence[str]) -> tuple[str, str]:
        """The last hotfix that changed one of these after this one, and which; empty for none."""
        mine = int(self.record.get("number") or 0)
        found = [
            (int(about[DATABASE]["number"]), name, key)
            for name, about in hotfix_ledger.of_databases(self.state_dir).items()
            for key in about.get("sums") or {}
            if key in keys and about[DATABASE]["place"] == self.place and int(about[DATABASE]["number"]) > mine
        ]
        return max(found)[1:] if found else ("", "")

    def next_number(self) -> int:
        """Which of all of this server it is."""
        numbers = [
            int((hotfix_ledger.read(self.state_dir, n).get(DATABASE) or {}).get("number") or 0)
            for n in hotfix_ledger.names(self.state_dir)
        ]
        return 1 + max([0, *numbers])

    def note(self, state: str, before: Mapping[str, Thing], after: Mapping[str, Thing], **more: Any) -> None:
        """Write down how far it is."""
        record = {**self.record, **more, "place": self.place, "by": dict(self.by), "state": state}
        record.update(before=objects.kept(before), after=objects.kept(after))
        sums = {
            k: {which: t[k].sum if k in t else None for which, t in (("before", before), ("after", after))}
            for k in objects.differing(before, after)
        }
        about = {
            "name": self.name, "kind": DATABASE, "made": iso(time.time()), "reverted": "", "merged": "", "replaced": "",
            DATABASE: record, "sums": sums, "given_sums": {DATABASE: record["request"]}, "untried": self.untried,
        }  # fmt: skip
        if self.record:
            about["made"] = self.known["made"]
        patch = objects.text(after, before) + "-- and since:\n" + objects.text(before, after)
        hotfix_ledger.write(self.state_dir, self.name, about, patch)
        self.known = hotfix_ledger.read(self.state_dir, self.name)

    def end(self, word: str) -> None:
        """Write down that it is in force no more: ``reverted``, ``merged`` or ``replaced``."""
        patch = objects.text(self.things("after"), self.things("before"))
        hotfix_ledger.write(self.state_dir, self.name, {word: iso(time.time())}, patch)
        self.known = hotfix_ledger.read(self.state_dir, self.name)


def trying(server: Server, limits: Limits, named: Sequence[Named], work: Callable[[Transaction], _Done]) -> _Done:
    """Do something in a transaction, and again where a lock was not given.

    :raises BadInput: the server refused it, or somebody is in the way all the time.
    """
    left = limits.retries
    while True:
        try:
            with Transaction(server, limits.lock, limits.statement, limits.whole) as transaction:
                return work(transaction)
        except Failed as error:
            if not error.busy or not left:
                raise _given_up(server, limits, named, error) from error
        left -= 1
        time.sleep(RETRY_PAUSE)


def _given_up(server: Server, limits: Limits, named: Sequence[Named], last: Failed) -> BadInput:
    if not last.busy:
        return BadInput(f"the database refused it, {last}", f"correct that, and {_AGAIN}")
    who = [
        f"process {t['pid']} ({', '.join(str(t[k]) for k in ('user', 'application', 'state') if t[k])}) has worked with "
        f"{t['relation']} for {t['seconds']} s"
        for t in asked(server, catalogue.in_the_way(named), limits.statement)
    ]
    return BadInput(
        f"{last} in {limits.retries + 1} attempts of {limits.lock:g} s" + (f"; {'; '.join(who)}" if who else ""),
        f"wait until that has ended, or end it, then {_AGAIN}",
    )


def looked_at(server: Server, limits: Limits, named: Sequence[Named]) -> dict[str, Thing]:
    """What there is now."""
    return trying(server, limits, named, lambda t: t.things(named)[0])


def apply(
    server: Server, limits: Limits, ledger: Ledger, changes: Sequence[Change], request: str, check: str, dry: bool
) -> Outcome:
    """Apply a hotfix, or find that it is there.

    :param check: a query that has to be true before it is committed, empty for none.
    :raises BadInput: nothing was changed.
    """
    named = all_named(changes)
    record = ledger.record
    back = f"ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={ledger.name}"
    if record and record["place"] != ledger.place:
        raise BadInput(
            f"the hotfix {ledger.name} is one of {record['place']}, not of {ledger.place}", "set hotfix_name"
        )
    if record and record["request"] != request and record["state"] != APPLYING:
        raise BadInput(
            f"a hotfix called {ledger.name} is there already, and is another one", f"{back}, or set hotfix_name"
        )
    if record and record["state"] != APPLYING:
        now, before, after = looked_at(server, limits, named), ledger.things("before"), ledger.things("after")
        others = [k for k in objects.differing(before, after) if not objects.same(now.get(k), after.get(k))]
        if not others:
            if record["state"] == COMMITTING and not dry:
                ledger.note(APPLIED, before, after)
            return Outcome(record["state"] == COMMITTING, before, after)
        unbegun = all(objects.same(now.get(k), before.get(k)) for k in objects.differing(before, after))
        if record["state"] == APPLIED or not unbegun:
            raise BadInput(
                f"the hotfix {ledger.name} was put there, and {', '.join(others)} is another one since (a migration, or somebody by hand)",
                f"{back}, which leaves what others changed as it is; then {_AGAIN}",
            )
    if dry:
        now = looked_at(server, limits, named)
        return Outcome(True, now, {})
    fresh = not ledger.known
    try:
        done = trying(server, limits, named, lambda t: _applied(t, ledger, changes, named, request, check))
    except Unknown:
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            if fresh:
                hotfix_ledger.forget(ledger.state_dir, ledger.name)
            elif ledger.record.get("state") == APPLYING:
                ledger.end("reverted")
        raise
    if not done.changed and fresh:
        hotfix_ledger.forget(ledger.state_dir, ledger.name)
    elif done.changed:
        ledger.note(APPLIED, done.before, done.after)
    return done


def _applied(
    transaction: Transaction,
    ledger: Ledger,
    changes: Sequence[Change],
    named: Sequence[Named],
    request: str,
    check: str,
) -> Outcome:
    before, numbers = transaction.things(named)
    if ledger.record.get("state") == COMMITTING:
        # Of a killed run, whose session may have gone on: what it found is not looked for again.
        found, made = ledger.things("before"), ledger.things("after")
        if all(objects.same(before.get(k), made.get(k)) for k in objects.differing(found, made)):
            return Outcome(True, found, made)
    else:
        about = {"request": request, "named": [asdict(n) for n in named]}
        ledger.note(APPLYING, before, before, number=ledger.next_number(), **about)
    tables = transaction.lock(named)
    transaction.change(changes)
    after, now = transaction.things(named)
    anew = [k for k in after if numbers.get(k) != now[k]]
    owner = transaction.owner() if any(k not in before for k in anew) else ""
    after = transaction.dress(named, objects.belonging(before, after, anew, owner))
    _refuse_others(transaction, {**numbers, **{f"{k} now": n for k, n in now.items()}}, tables)
    plain = [(n.kind, n.name) for n in named if n.kind in (FUNCTION, VIEW) and not n.schema]
    is_external = objects.meant_external(plain, before, after)
    if is_external:
        raise BadInput(is_external, "write the schema before the name")
    changed = objects.differing(before, after)
    if not changed:
        if ledger.record.get("state") == APPLYING:
            ledger.end("reverted")
        return Outcome(False, {}, {}, ["it was there already, by a migration or by hand, and nothing is kept of it"])
    _prove(transaction, named, before, after)
    if check:
        _check(transaction, check)
    before, after = objects.only(before, changed), objects.only(after, changed)
    ledger.note(COMMITTING, before, after)
    _commit(transaction)
    return Outcome(True, before, after)


def _refuse_others(transaction: Transaction, numbers: Mapping[str, int], tables: Sequence[str]) -> None:
    others = transaction.strangers(numbers, tables)
    if others:
        raise BadInput(
            f"it would also change what it does not name, or what is no function, view or trigger: {', '.join(others)}",
            "write a migration, and run ansible-playbook evenkeel.deploy.update -e update_version=VERSION",
        )


def _prove(
    transaction: Transaction, named: Sequence[Named], before: Mapping[str, Thing], after: Mapping[str, Thing]
) -> None:
    """Go the whole way back, look, and forget that: what could not be taken back is not begun."""
    advice = "write a migration, and run ansible-playbook evenkeel.deploy.update -e update_version=VERSION"
    transaction.ask("SAVEPOINT evenkeel_back;\n")
    try:
        back = transaction.become(named, after, before)
    except Failed as error:
        if error.busy:
            raise
        raise BadInput(f"it could not be taken back: {error}", advice) from error
    lost = objects.differing(before, back)
    if lost:
        raise BadInput(
            f"it could not be taken back as it was: {', '.join(lost)} would be another one (triggers, rules, defaults or "
            "comments of columns that go with it)",
            advice,
        )
    transaction.ask("ROLLBACK TO SAVEPOINT evenkeel_back;\n")


def _check(transaction: Transaction, query: str) -> None:
    try:
        said = transaction.checked(query)
    except Failed as error:
        wrote = " (a check can write nothing)" if error.code == "25006" else ""
        raise BadInput(
            f"the check failed: {error.said}{wrote}", f"correct the hotfix or its check, and {_AGAIN}"
        ) from error
    if said != "true":
        shown = said if said in ("false", "null") else "something else"
        raise BadInput(
            f"the check is not true with it: it said {shown}", f"correct the hotfix or its check, and {_AGAIN}"
        )


def _commit(transaction: Transaction) -> None:
    try:
        transaction.commit()
    except Failed as error:
        if error.code:
            raise
        raise Unknown(
            f"the session ended while it committed: {error.said}", f"{_AGAIN}: it looks which of both it is"
        ) from error


def revert(server: Server, limits: Limits, ledger: Ledger, dry: bool) -> Outcome:
    """Bring back what a hotfix has replaced, but for what somebody has changed since.

    :raises BadInput: another hotfix lies on it, or something else needs what would go.
    """
    if not ledger.record or ledger.record["state"] == APPLYING:
        if ledger.record and not dry:
            ledger.end("reverted")
        return Outcome(False, {}, {})
    if ledger.record["place"] != ledger.place:
        raise BadInput(f"the hotfix {ledger.name} is one of {ledger.record['place']}, not of {ledger.place}",
                       "set app_database_service to where it was applied")  # fmt: skip
    before, after, named = ledger.things("before"), ledger.things("after"), ledger.named
    other, key = ledger.later_on(objects.differing(before, after))
    if other:
        raise BadInput(f"the hotfix {other} changed {key} after {ledger.name}",
                       f"ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={other} first")  # fmt: skip
    done = trying(server, limits, named, lambda t: _reverted(t, ledger, named, before, after, dry))
    if not dry:
        ledger.end("reverted")
    return done


def _reverted(
    transaction: Transaction,
    ledger: Ledger,
    named: Sequence[Named],
    before: Mapping[str, Thing],
    after: Mapping[str, Thing],
    dry: bool,
) -> Outcome:
    now, numbers = transaction.things(named)
    keys = objects.differing(before, after)
    mine = [k for k in keys if objects.same(now.get(k), after.get(k))]
    notes = [
        f"{k} was replaced since, and is left as it is"
        for k in keys
        if k not in mine and not objects.same(now.get(k), before.get(k))
    ]
    here = objects.only(now, mine)
    wanted = objects.carried(objects.only(before, mine), after, now)
    if dry or not mine:
        return Outcome(bool(mine), here, wanted, notes)
    tables = transaction.lock(named)
    there = transaction.become(named, here, wanted)
    wrong = [k for k in mine if there.get(k) != wanted.get(k)]
    if wrong:
        raise BadInput(f"{', '.join(wrong)} would not be what it was before {ledger.name}",
                       f"what was there is kept as {hotfix_ledger.path_of(ledger.state_dir, ledger.name)}")  # fmt: skip
    again = transaction.things(named)[1]
    _refuse_others(transaction, {**numbers, **{f"{k} now": n for k, n in again.items()}}, tables)
    _commit(transaction)
    return Outcome(True, here, wanted, notes)
