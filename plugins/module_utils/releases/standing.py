# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases, brokers and proxies: services that stay as they are although a new release would define them anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.programs import BROKER, DATABASE, PROXY

#: Kinds of services that an update leaves as they are wherever it can.
STANDING = (DATABASE, BROKER, PROXY)


def keep_as_created(
    project: Mapping[str, Any], serving: Mapping[str, Any], kinds: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """The project in which databases, brokers and proxies keep environment and dependencies, where nothing else differs.

    One ``.env`` is often given to every service; a database looks at it when it is made, and making it anew is a gap. So it is
    for an nginx that waits for one service more: Compose up to 2.26 would create it anew at a plain ``up --detach``.

    :param serving: the project that serves now, as it was generated.
    :returns: the project, and a note for each that keeps something.
    """
    services, notes = dict(project.get("services", {})), []
    for name, kind in kinds.items():
        old, new = (serving.get("services") or {}).get(name), services[name]
        if kind not in STANDING or old is None or not set(old.get("depends_on") or {}) <= set(services):
            continue
        kept = {k for k in ("environment", "depends_on") if old.get(k) != new.get(k)}
        same = {k: v for k, v in old.items() if k not in kept} == {k: v for k, v in new.items() if k not in kept}
        if not kept or not same:
            continue
        services[name] = {**{k: v for k, v in new.items() if k not in kept}, **{k: old[k] for k in kept if old.get(k)}}
        if "environment" in kept:
            before, after = old.get("environment") or {}, new.get("environment") or {}
            keys = sorted(k for k in {*before, *after} if before.get(k) != after.get(k))
            notes.append(
                f"{name}: keeps the environment it runs with ({', '.join(keys)} differ), since creating this {kind} anew is a "
                f"gap; update_allow_downtime=true does it"
            )
        if "depends_on" in kept:
            notes.append(
                f"{name}: keeps the depends_on it was created with, until this {kind} is created anew for another reason"
            )
    return {**project, "services": services}, notes
