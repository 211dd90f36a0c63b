# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that do one thing for us and go: by what they are known, and the end of those that a killed run left."""

from __future__ import annotations

from .engine import Engine

#: The label of such containers; its value is the project's name and what they are for.
ONE_OFF = "evenkeel.oneoff"


def sweep(engine: Engine, value: str, label: str = ONE_OFF, but: str = "") -> None:
    """Remove what a killed run left: its client is gone, but its container may still run.

    :param but: the name of one that is left alone.
    """
    for found in engine.brief({label: value}):
        if not but or f"/{but}" not in found["Names"]:
            take_away(engine, str(found["Id"]))


def take_away(engine: Engine, container: str) -> None:
    """End one, and remove it."""
    engine.stop(container, 1)
    engine.remove(container)
