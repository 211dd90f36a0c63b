# SPDX-License-Identifier: GPL-3.0-or-later
"""The measured cases against what the module said of them: what is unsafe, what is too strict, and the table."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bed.shop import run
from tests.database.migrations.versions import VERSIONS, django_python, linters_python
from tests.database.postgres_server import postgres

ROOT = Path(__file__).resolve().parents[3]
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
BESIDE = """## Beside two other tools

django-migration-linter 6.0 reads the SQL and says of each migration whether the code that runs breaks (`error`); it is held
against the old code on the migrated schema. django-safemigrate 6.0 judges nothing: it runs what its author says is safe, and
what nothing is said of at any time (`always`); it is held against both codes. Ours is held against both and every stage. With
Django 5.2, without what cannot be made at all; *asks* is what has to be declared."""


def measured(python: str, address: str, *arguments: str, script: str = "measure.py") -> list[dict[str, Any]]:
    """What ``measure.py``, or another script, has measured on the PostgreSQL at an address."""
    argv = [python, str(Path(__file__).with_name(script)), address, *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines()]


@dataclass(frozen=True)
class Row:
    """One case: what was said, what was measured, and how the two agree."""

    case: str
    phases: str
    actions: str
    old: str
    new: str
    bridge: str
    ways: tuple[str, ...]
    beware: tuple[str, ...]
    unsafe: tuple[str, ...]
    strict: tuple[str, ...]
    cells: int
    asks: bool


def _cell(broken: dict[str, str]) -> str:
    if not broken:
        return "works"
    first = next(iter(broken.items()))
    return f"{len(broken)} fail: {' '.join(first[0].split()[1:])}"


def _notes(operation: dict[str, Any]) -> tuple[str, ...]:
    """Why neither code would do and no bridge helps, and the way to write it."""
    why = f"why: {operation['reason']}" if operation["phase"] == "downtime" else ""
    return why, operation["safe_way"]


def row_of(told: dict[str, Any]) -> Row:
    """One measured case held against the decision."""
    operations = [o for m in told["decided"]["plan"] for o in m["operations"]]
    phases = {o["phase"] for o in operations}
    refused, unsafe, strict = bool(told["decided"]["refused"]), [], []
    said_old, said_new = bool(phases & {"after", "downtime"}), bool(phases & {"before", "downtime"})
    asks, cells = "unknown" in phases, 0
    if "fails" in told or told.get("at home"):
        # It cannot be made as it is, or does not make what its own code needs.
        if not refused:
            unsafe.append("not refused")
        old = new = "cannot be made" if "fails" in told else "fails on its own schema"
    else:
        old, new = _cell(told["old"]), _cell(told["new"])
        cells = 2
        for stage in ("expanded old", "expanded new", "contracted new"):
            # What all rows refer to by a kept default cannot be deleted by code that does not know them: that is said.
            deletes = all(" delete" in name for name in told.get(stage) or ())
            if told.get(stage) and not (deletes and any(o["beware"] and o["bridge"] for o in operations)):
                unsafe.append(f"{stage}: {_cell(told[stage])}")
        if told.get("out of step"):
            unsafe.append(f"{told['out of step']} rows differ between a column and its mirror")
        if told.get("other schema"):
            unsafe.append(f"another schema than Django's: {told['other schema'][0][:3]}")
        if told.get("mixed old") and not any(o["beware"] for o in operations):
            unsafe.append(f"rows of both: {_cell(told['mixed old'])}, and nothing was said")
        # With a bridge the codes break or not as they do with it, which the stages above tell.
        alone = len(operations) == 1 and not told["declared"] and not operations[0]["bridge"]
        if alone and not asks and "refuse" not in phases:
            for code, breaks, said in (("old", told["old"], said_old), ("new", told["new"], said_new)):
                if breaks and not said:
                    unsafe.append(f"{code} code")
                if said and not breaks:
                    strict.append(f"{code} code")
        elif refused and not asks and not told["old"] and not told["new"]:
            strict += ["old code", "new code"]
    ways = dict.fromkeys(note for o in operations if o["action"] != "now" for note in _notes(o) if note)
    return Row(
        told["case"],
        ", ".join(o["phase"] + (" (declared)" if o["declared"] else "") for o in operations),
        ", ".join(o["action"] for o in operations),
        old,
        new,
        ", ".join(o["bridge"] for o in operations if o["bridge"]),
        tuple(ways),
        tuple(dict.fromkeys(f"beware: {o['beware']}" for o in operations if o["beware"] and o["action"] != "refuse")),
        tuple(unsafe),
        tuple(strict),
        cells,
        asks,
    )


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table, with the ways to write them below."""
    head = "| case | old code, migrated | new code, not migrated | phase | action | bridge | |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    notes: dict[str, int] = {}
    for r in rows:
        numbers = " ".join(f"[{notes.setdefault(text, len(notes) + 1)}]" for text in (*r.ways, *r.beware))
        mark = " **unsafe**" if r.unsafe else " (too strict)" if r.strict else ""
        cells = [r.case, r.old, r.new, r.phases + mark, r.actions, r.bridge, numbers]
        lines.append("| " + " | ".join(c.replace("|", "/").replace("\n", " ") for c in cells) + " |")
    return "\n".join([*lines, "", *(f"- [{number}] {text}" for text, number in notes.items())])


def others(address: str) -> dict[str, tuple[str, str]]:
    """What two other tools say of each case: the linter and safemigrate."""
    found = measured(linters_python(), address, script="others.py")
    return {t["case"]: (t["linter"], t["safemigrate"]) for t in found}


def compared(rows: list[Row], said: dict[str, tuple[str, str]]) -> str:
    """Who is right where: of running a migration before the code is replaced."""
    head = "| case | old code, migrated | new code, not migrated | ours | migration-linter | safemigrate |"
    lines = [head, "|---|---|---|---|---|---|"]
    counts = {name: [0, 0, 0] for name in ("ours", "migration-linter", "safemigrate")}
    for row in (r for r in rows if r.cells and r.case in said):
        linter, safe = said[row.case]
        old_breaks, new_breaks = row.old != "works", row.new != "works"
        refused = "refuse" in row.actions.split(", ")
        # Ours says of the whole whether it can be part of an update without a gap; what asks is no verdict.
        ours = "asks" if row.asks else "unsafe" if row.unsafe else "too strict" if row.strict else "right"
        wrong = {(True, False): "unsafe", (False, True): "too strict"}
        theirs = wrong.get((old_breaks, "error" in linter), "right")
        always = "unsafe" if old_breaks or new_breaks else "right"
        for name, verdict in zip(counts, (ours, theirs, always)):
            counts[name][{"unsafe": 1, "too strict": 2}.get(verdict, 0)] += verdict != "asks"
        cells = [
            row.case,
            row.old.split(":")[0],
            row.new.split(":")[0],
            f"{'refused' if refused else row.actions}: {ours}",
        ]
        lines.append("| " + " | ".join([*cells, f"{linter}: {theirs}", f"{safe}: {always}"]) + " |")
    told = [f"- {name}: right {c[0]}, unsafe {c[1]}, too strict {c[2]}" for name, c in counts.items()]
    return "\n".join([*told, "", *lines])


def summary(version: str, rows: list[Row]) -> str:
    """The counts of one version in a sentence."""
    cells, strict = sum(r.cells for r in rows), sum(len(r.strict) for r in rows)
    unsafe = [r.case for r in rows if r.unsafe]
    share = 100 * strict / max(1, cells)
    named = f" **not ok** ({'; '.join(unsafe)})" if unsafe else ""
    gaps = [r for r in rows if r.cells and "works" not in (r.old, r.new)]
    beside = [r for r in gaps if "refuse" not in r.actions]
    bridges = sum(bool(r.bridge) for r in beside)
    return (
        f"- Django {version}: {len(rows)} cases, {cells} cells measured; unsafe and called safe: {len(unsafe)}{named}; safe and "
        f"called unsafe: {strict} cells ({share:.1f} %); {sum(r.asks for r in rows)} cases ask for a "
        f"declaration; of {len(gaps)} that break both codes as Django runs them, {len(beside)} run beside both, {bridges} of them "
        f"with a bridge"
    )


def truth_table() -> str:
    """Measure all cases with all versions, write the table into ``docs/migrations.md``, and return the counts."""
    said: list[str] = []
    shown: list[Row] = []
    beside = "Not measured."
    with postgres("migrations") as server:
        for name in VERSIONS:
            python = django_python(name)
            if not python:
                said.append(f"- Django {name}: no Python on this machine can have it, not measured")
                continue
            version = run([python, "-c", "import django; print(django.get_version())"]).strip()
            found = measured(python, server.address)
            broken = [t["case"] for t in found if "harness" in t]
            if broken:
                raise RuntimeError(f"the harness failed for {', '.join(broken)}")
            rows = [row_of(t) for t in found]
            said.append(summary(version, rows))
            if name == "5.2":
                beside = compared(rows, others(server.address))
            own = {r.case: r for r in rows}
            shown = [own.pop(r.case, r) for r in shown] + list(own.values())
    page = ROOT / "docs/migrations.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    counts = "\n".join(said)
    page.write_text(
        f"{before}{BEGIN}\n{counts}\n\n{table(shown)}\n\n{BESIDE}\n\n{beside}\n{END}{after}", encoding="utf-8"
    )
    return f"{counts}\n\nThe table is in [migrations.md](migrations.md)."
