# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of the truth table on a real PostgreSQL: what the module calls safe is safe.  ``make evidence`` runs them all."""

from __future__ import annotations

from tests.bed.migrations.truth import django_python, measured, postgres, row_of


def test_what_is_called_safe_is_safe() -> None:
    with postgres("migrations-quick") as port:
        found = measured(django_python("5.2"), port, "--quick")
    assert [t["case"] for t in found if "harness" in t] == []
    rows = [row_of(t) for t in found]
    assert len(rows) >= 35
    assert {r.case: r.unsafe for r in rows if r.unsafe} == {}
    assert {r.case: r.strict for r in rows if r.strict} == {}
    # Nothing is legal where nothing is tried: each version has dozens of things that it does at home.
    assert min(min(t["legal"]) for t in found if "legal" in t) > 25
