# SPDX-License-Identifier: GPL-3.0-or-later
"""The book of orders: which were acknowledged, and of which nobody can know.

Acknowledged ones are written as they are acknowledged, a JSON line each, so that they are there even if the
generator is killed. An order is *unknown* once any of it was sent and no proper 201 came back: its row may
exist or not, but never twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An order the shop answered with 201: its unique reference, the row's id, and the version that said so."""

    reference: str
    id: int
    version: str = ""


class OrderBook:
    """Hands out references, and keeps what became of each."""

    def __init__(self, run: str, path: Path | None) -> None:
        self._run = run
        self._file: IO[str] | None = path.open("a", encoding="utf-8", buffering=1) if path else None
        self._number = 0
        self._open: dict[str, str] = {}
        self._unknown: dict[str, str] = {}
        self.acknowledged = 0

    def begin(self) -> str:
        """A new unique reference, of which nothing is known until one of the other methods is called."""
        self._number += 1
        reference = f"load-{self._run}-{self._number}"
        self._open[reference] = "not answered"
        return reference

    def acknowledge(self, order: Acknowledged, at: float) -> None:
        """The shop said 201, `at` seconds after the start."""
        self._open.pop(order.reference, None)
        self.acknowledged += 1
        if self._file:
            line = {"reference": order.reference, "id": order.id, "version": order.version, "at": round(at, 3)}
            self._file.write(json.dumps(line) + "\n")

    def unknown(self, reference: str, why: str) -> None:
        """Something was sent and no proper answer came."""
        self._open.pop(reference, None)
        self._unknown[reference] = why

    def never_sent(self, reference: str) -> None:
        """No connection came about, so there can be no row."""
        self._open.pop(reference, None)

    def close(self) -> Mapping[str, str]:
        """Close the file; returns the unknown orders (those still open included) with the reason of each."""
        if self._file:
            self._file.close()
        return {**self._unknown, **self._open}


def read_acknowledged(path: Path) -> list[Acknowledged]:
    """The acknowledged orders of a file. A last line without its end (a killed generator) is left out."""
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    lines = [json.loads(line) for line in whole.splitlines() if line]
    return [Acknowledged(str(line["reference"]), int(line["id"]), str(line.get("version", ""))) for line in lines]
