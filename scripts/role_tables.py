#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the table of variables into docs/roles/<role>.md, from the role's argument_specs and defaults.

Run it after changing either. A unit test fails if a page differs from the output of this script.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
ROLES = ROOT / "roles"
PAGES = ROOT / "docs/roles"
BEGIN, END = "<!-- variables: written by scripts/role_tables.py -->", "<!-- end of variables -->"


def load(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, empty when there is none."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    """The options of a role's main entry point."""
    options: dict[str, dict[str, Any]] = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


def is_needed(option: dict[str, Any], default: Any) -> bool:
    """Whether the user has to set it."""
    return bool(option.get("required")) or "undef(" in str(default)


def text_of(description: str | list[str]) -> str:
    """A description as Markdown: Ansible's C(), O(), V() become code."""
    joined = description if isinstance(description, str) else " ".join(description)
    return re.sub(r"\b[A-Z]\(([^)]*)\)", r"`\1`", " ".join(joined.split())).replace("|", "\\|")


def default_of(option: dict[str, Any], default: Any) -> str:
    """A default as a person would write it."""
    if is_needed(option, default):
        return "**required**"
    if default in (None, ""):
        return ""
    if isinstance(default, str) and "{{" in default:
        # A bare pipe would end the cell, also in code.
        return f"`{default}`".replace("|", "\\|")
    return f"`{yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix('...' + chr(10)).strip()}`"


def table(role: Path) -> str:
    """The whole table of a role."""
    defaults = load(role / "defaults/main.yml")
    rows = [("variable", "default", "what it is"), ("---", "---", "---")]
    for name, option in options_of(role).items():
        rows.append((f"`{name}`", default_of(option, defaults.get(name)), text_of(option["description"])))
        for key, part in option.get("options", {}).items():
            of_each = "" if option.get("type") == "dict" else "[]"
            rows.append(
                (f"`{name}{of_each}.{key}`", default_of(part, part.get("default")), text_of(part["description"]))
            )
    return "\n".join(f"| {' | '.join(row)} |".replace("  ", " ") for row in rows)


def page_of(role: Path) -> Path:
    """The reference of a role."""
    return PAGES / f"{role.name}.md"


def with_table(text: str, role: Path) -> str:
    """A reference with the table of now in it."""
    head, begin, rest = text.partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"docs/roles/{role.name}.md has no place for its table: {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{table(role)}\n\n{END}{tail}"


def main() -> int:
    """Write each page that differs."""
    for role in sorted(path.parent for path in ROLES.glob("*/meta")):
        page = page_of(role)
        before = page.read_text(encoding="utf-8")
        after = with_table(before, role)
        if after != before:
            page.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{page} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
