#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/messages.md from the code: what it refuses or reports as failed, and what to do then.

Run it after adding or changing a message; a unit test fails where the page is not what this would write.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
UTILS = ROOT / "plugins/module_utils"
PAGE = ROOT / "docs/messages.md"
HEAD = """# Messages

Every message that ends an operation has three parts: **What** happened, what serves **Now**, and what to run **Next**. This page
lists them by the part of the collection that they come from; `…` stands for names and values. What an empty cell would say is
"correct that and run the same command again". Migrations that are refused, and how to write them: [migrations](migrations.md).

A message that tells how far something came, or what was undone, is made of what happened, and is not on this page.

`scripts/message_page.py` writes it from the code.
"""
TITLES = {
    "adopt": "Taking over what was started by hand", "backup": "Backups and restores", "base": "Files, processes, options",
    "build": "Images, static files, front ends", "celery": "Celery", "django": "Django", "drift": "Edits made by hand",
    "engine": "Docker and Compose", "git": "git", "guard": "The guard", "hotfix": "Hotfixes", "init": "init",
    "migrations": "Migrations", "nginx": "nginx", "operation": "Locks and records", "postgres": "PostgreSQL",
    "rehearsal": "Rehearsals", "releases": "Releases", "rolling": "Replacing containers", "status": "status and verify",
    "traffic": "Leading requests",
}  # fmt: skip


def text_of(node: ast.expr | None) -> str:
    """A literal text, with … for what is put in; empty for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + (text_of(node.right) or "…")
    return ""


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A file of the code."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def own_errors() -> frozenset[str]:
    """The exceptions that the rooms define, and the two of Python's that they say something by."""
    classes = [
        node for path in UTILS.rglob("*.py") for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)
    ]
    found, before = {"OSError", "ValueError"}, 0
    while len(found) > before:
        before = len(found)
        found |= {c.name for c in classes for b in c.bases if isinstance(b, ast.Name) and b.id in {"Exception", *found}}
    return frozenset(found)


def raised(path: Path) -> Iterator[tuple[str, str]]:
    """What a file's exceptions say, and what they advise."""
    for node in ast.walk(parsed(path)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute))):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        if name not in own_errors() or not node.args:
            continue
        what = " ".join(text_of(node.args[0]).split())
        advice = next(
            (k.value for k in node.keywords if k.arg == "advice"), node.args[1] if len(node.args) > 1 else None
        )
        if len(re.findall(r"[a-z]{2,}", what)) >= 3:
            yield what, _advice(text_of(advice))


def said(path: Path) -> Iterator[tuple[str, str]]:
    """What a role's own tasks say where they end an operation, and what they advise."""
    text = re.sub(r"\{\{.*?\}\}", "…", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for what, then in re.findall(r"What: ((?:(?!Now:).)+)Now:.+?Next: (.+?)\n(?= *\w+:| *-|\n|$)", text, re.DOTALL):
        if len(re.findall(r"[a-z]{2,}", what)) >= 3:
            yield " ".join(what.split()), _advice(re.sub(r"\n *#.*", "", then))


def _advice(text: str) -> str:
    return " ".join(text.split()) if re.search(r"\w{2}", text) else ""


def page() -> str:
    """The whole page."""
    parts = [HEAD, _section("The playbooks themselves", said, sorted((ROOT / "roles").glob("*/tasks/*.yml")))]
    for room, title in sorted(TITLES.items(), key=lambda item: item[1].lower()):
        parts.append(_section(title, raised, sorted((UTILS / room).rglob("*.py"))))
    return "\n".join(part for part in parts if part)


def _section(title: str, messages: Callable[[Path], Iterator[tuple[str, str]]], paths: list[Path]) -> str:
    found: dict[str, str] = {}
    for path in paths:
        for what, advice in messages(path):
            found[what] = found.get(what) or advice
    rows = [f"| {_cell(what)} | {_cell(found[what])} |" for what in sorted(found, key=lambda w: w.lstrip("… ").lower())]
    return "\n".join([f"## {title}", "", "| what | next |", "| --- | --- |", *rows, ""]) if rows else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*").strip()


def main() -> int:
    """Write the page where it differs."""
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        PAGE.write_text(page(), encoding="utf-8")
        sys.stdout.write(f"{PAGE} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
