# SPDX-License-Identifier: GPL-3.0-or-later
"""The truth table's cases as data: what the models are before, and the migrations that change them.

Two tables stand in every case: `Place`, and `Item` with a place.  A case names what it puts beside them, and its
operations; several lists are several migrations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import django
from django.db import migrations as m
from django.db import models as d

Operations = Sequence[Any]
CASCADE = d.CASCADE


@dataclass(frozen=True)
class Case:
    """One case; its parts are made anew each time, since operations keep what they were run with."""

    name: str
    start: Callable[[], Operations]
    steps: Callable[[], Sequence[Operations]]
    declared: str = ""
    since: tuple[int, int] = (4, 2)
    until: tuple[int, int] = (99, 0)
    seeds: int = 4
    quick: bool = False
    upserts: bool = True


CASES: list[Case] = []


def pk() -> tuple[str, Any]:
    return ("id", d.BigAutoField(primary_key=True))


def model(called: str, options: dict[str, Any] | None = None, /, **fields: Any) -> Any:
    """A model with a key of its own."""
    own = list(fields.items())
    if not any(f.primary_key for _name, f in own):
        own.insert(0, pk())
    return m.CreateModel(called, own, options or {})


def char(length: int = 50, **more: Any) -> Any:
    return d.CharField(max_length=length, **more)


def to(name: str, **more: Any) -> Any:
    return d.ForeignKey(f"shop.{name}", **{"on_delete": CASCADE, **more})


def base(options: dict[str, Any] | None = None, /, **fields: Any) -> list[Any]:
    """The two tables, with further fields of `Item`."""
    return [
        model("Place", name=char()),
        model("Item", options, name=char(), number=d.IntegerField(), place=to("Place", related_name="items"), **fields),
    ]


def case(name: str, *operations: Any, start: Callable[[], Operations] | None = None, **more: Any) -> None:
    """Add a case; operations are given as functions, so that each use has its own."""
    version = django.VERSION[:2]
    if more.get("since", (0, 0)) <= version < more.get("until", (99, 0)):
        steps = [operations] if not isinstance(operations[0], list) else list(operations)
        CASES.append(Case(name, start or base, lambda: [[make() for make in step] for step in steps], **more))


def add(name: str, field: Callable[[], Any], of: str = "Item", **more: Any) -> Callable[[], Any]:
    return lambda: m.AddField(of, name, field(), **more)


def alter(name: str, field: Callable[[], Any], of: str = "Item", **more: Any) -> Callable[[], Any]:
    return lambda: m.AlterField(of, name, field(), **more)


def remove(name: str, of: str = "Item") -> Callable[[], Any]:
    return lambda: m.RemoveField(of, name)


def having(**fields: Callable[[], Any]) -> Callable[[], Operations]:
    """A start where `Item` has these fields too."""
    return lambda: base(None, **{name: make() for name, make in fields.items()})


def constrained(*constraints: Callable[[], Any], **fields: Callable[[], Any]) -> Callable[[], Operations]:
    """A start where `Item` has these constraints and fields too."""
    return lambda: base({"constraints": [c() for c in constraints]}, **{n: make() for n, make in fields.items()})


def check(rule: Any, name: str = "rule") -> Any:
    """A check constraint in the words of the Django that runs."""
    word = "condition" if django.VERSION >= (5, 1) else "check"
    return d.CheckConstraint(**{word: rule, "name": name})


def unique(*fields: str, name: str = "one", **more: Any) -> Any:
    return d.UniqueConstraint(fields=fields, name=name, **more)


def constrain(constraint: Callable[[], Any], of: str = "Item") -> Callable[[], Any]:
    return lambda: m.AddConstraint(of, constraint())


def unconstrain(name: str = "one", of: str = "Item") -> Callable[[], Any]:
    return lambda: m.RemoveConstraint(of, name)


def index(*fields: str, name: str = "by_these", **more: Any) -> Callable[[], Any]:
    return lambda: m.AddIndex("Item", d.Index(*more.pop("of", ()), fields=fields, name=name, **more))
