# SPDX-License-Identifier: GPL-3.0-or-later
"""The measured pairs of releases against what was said of the way back: what is unsafe, what is too strict, and the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bed.shop import run
from tests.database.migrations.truth import ROOT, measured
from tests.database.migrations.versions import VERSIONS, django_python
from tests.database.postgres_server import postgres

BEGIN, END = "<!-- pairs: begin -->", "<!-- pairs: end -->"
ALLOWED = ("code only", "abandon")


@dataclass(frozen=True)
class Pair:
    """One pair: what was said, and how that and what happened agree.

    :ivar unsafe: what the older code could not do although the verdict let it come back; empty for nothing.
    :ivar strict: the verdict forbids, and the older code could do everything.
    :ivar warned: something fails with rows of the newer code, and it was said.
    """

    case: str
    how: str
    verdict: str
    unsafe: str = ""
    strict: bool = False
    warned: bool = False
    legal: int = 0


def _first(broken: dict[str, str]) -> str:
    name, why = next(iter(broken.items()))
    return f"{len(broken)} fail: {name.lstrip('0123456789 ')}: {why}"


def pair_of(told: dict[str, Any]) -> Pair:
    """One measured pair held against its verdict."""
    verdict, now, both, after = told["verdict"], told["now"], told["both"], told.get("after") or {}
    unsafe = ""
    if verdict in ALLOWED:
        broken = now or after or (both if not told["beware"] else {})
        unsafe = _first(broken) if broken else ""
    elif verdict == "reverse":
        unsafe = _first(after) if after else ""
        unsafe = unsafe or ("" if told["verdict after"] == "code only" else f"then {told['verdict after']}")
    steps = "" if (told["old"], told["new"]) == (1, 2) else f" ({told['old']} to {told['new']})"
    return Pair(
        told["case"] + steps, told["how"], verdict, unsafe, verdict not in ALLOWED and not now and not both,
        verdict in ALLOWED and bool(both) and not unsafe, told["legal"],
    )  # fmt: skip


def pairs_in(found: Sequence[dict[str, Any]]) -> list[Pair]:
    """The pairs that there are: what cannot be brought in is none.

    :raises RuntimeError: the harness itself failed.
    """
    broken = [t for t in found if "harness" in t]
    if broken:
        raise RuntimeError(f"the harness failed for {broken[0]['case']}: {broken[0]['harness']}")
    return [pair_of(t) for t in found if "not" not in t]


def summary(version: str, pairs: Sequence[Pair]) -> str:
    """The counts of one version of Django in a sentence."""
    by = Counter(p.verdict for p in pairs)
    strict = Counter(p.verdict for p in pairs if p.strict)
    unsafe = [f"{p.case}, {p.how}: {p.unsafe}" for p in pairs if p.unsafe]
    told = ", ".join(f"{v} {by[v]}" + (f" (too strict {strict[v]})" if strict[v] else "") for v in sorted(by))
    named = f" **not ok** ({'; '.join(unsafe[:5])})" if unsafe else ""
    return (
        f"- Django {version}: {len(pairs)} pairs, {sum(p.legal for p in pairs):,} actions of older code; {told}; "
        f"came back with a warning {sum(p.warned for p in pairs)}; let come back and failed: {len(unsafe)}{named}"
    )


def table(pairs: Sequence[Pair]) -> str:
    """A row for each change, a column for each way in which it came in."""
    hows = list(dict.fromkeys(p.how for p in pairs))
    cells = {(p.case, p.how): p for p in pairs}
    lines = [f"| the newer release has | {' | '.join(hows)} |", f"|{'---|' * (len(hows) + 1)}"]
    for case in dict.fromkeys(p.case for p in pairs):
        row = [_cell(cells.get((case, how))) for how in hows]
        lines.append(f"| {case.replace('|', '/')} | {' | '.join(row)} |")
    return "\n".join(lines)


def _cell(pair: Pair | None) -> str:
    if pair is None:
        return ""
    mark = " **unsafe**" if pair.unsafe else " (too strict)" if pair.strict else " (beware)" if pair.warned else ""
    return pair.verdict + mark


def pairs_table() -> str:
    """Measure all pairs with all versions of Django, write the table into ``docs/migrations.md``, return the counts."""
    said: list[str] = []
    shown: list[Pair] = []
    with postgres("pairs") as server:
        for name in VERSIONS:
            python = django_python(name)
            if not python:
                said.append(f"- Django {name}: no Python on this machine can have it, not measured")
                continue
            version = run([python, "-c", "import django; print(django.get_version())"]).strip()
            found = pairs_in(measured(python, server.address, script="pairs.py"))
            said.append(summary(version, found))
            own = {(p.case, p.how): p for p in found}
            shown = [own.pop((p.case, p.how), p) for p in shown] + list(own.values())
    page = ROOT / "docs/migrations.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    counts = "\n".join(said)
    page.write_text(f"{before}{BEGIN}\n{counts}\n\n{table(shown)}\n{END}{after}", encoding="utf-8")
    return f"{counts}\n\nThe table is in [migrations.md](migrations.md)."
