# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words for PostgreSQL's programs, and what they say: names quoted, roles made, the first error."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def first_complaint(stderr: str) -> str:
    """The first error of a PostgreSQL program, on one line, and never what rows or statements it quotes."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(error|FATAL|ERROR)\b:", line)] or lines[-1:]
    # The statement and the row that it was at come after this line, and values in it stand in parentheses.
    return errors[0][:300] if errors else "it gave no reason"


def role_statements(roles: Sequence[Mapping[str, Any]], present: Collection[str]) -> list[str]:
    """SQL that makes the roles that what is restored belongs to, none of which can log in."""
    missing = [str(r["name"]) for r in roles if str(r["name"]) not in present and not str(r["name"]).startswith("pg_")]
    made = [f"CREATE ROLE {quoted(name)} NOLOGIN;" for name in missing]
    members = [(str(r["name"]), str(m)) for r in roles for m in r.get("member_of") or [] if str(r["name"]) in missing]
    return made + [f"GRANT {quoted(group)} TO {quoted(name)};" for name, group in members]


def quoted(identifier: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + identifier.replace('"', '""') + '"'
