# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host a database belongs to: another host that would change it too is refused.

The claim is a row of the ledger in that database.  With it stands the identity that the database had then.  A dump takes the
row along and not the identity, so a copy that was restored anywhere belongs to whoever changes it first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """An engine and the Compose project on it.

    :ivar engine: the engine's own id. It survives another host name, another ``/etc/machine-id`` and another folder.
    :ivar name: of the machine, for people.
    """

    engine: str
    name: str
    project: str

    def __str__(self) -> str:
        return f"{self.name}/{self.project}"

    def is_same(self, other: Host) -> bool:
        """Whether both are one, whatever the machine is called by now."""
        return (self.engine, self.project) == (other.engine, other.project)


@dataclass(frozen=True)
class Claim:
    """The claim that stands in a database.

    :ivar database: the name that the server has for the database.
    :ivar release: the revision that it was changed for last.
    :ivar changed: when, in UTC; ISO 8601.
    """

    host: Host
    database: str
    release: str
    changed: str


def claim_in(report: Mapping[str, str]) -> Claim | None:
    """The claim that a database has told (``Ledger.claim``); None where there is none, or only that of the original."""
    if not report.get("detail"):
        return None
    kept = json.loads(report["detail"])
    if kept["database"] != report["identity"]:
        return None
    host = Host(*(str(kept[key]) for key in ("engine", "name", "project")))
    return Claim(host, str(report["name"]), str(report["release"]), str(report["changed"]))


def other_claim(report: Mapping[str, str], host: Host, take_over_from: str = "") -> Claim | None:
    """The claim of another host, but for the one that is taken over by its name (``machine/project``)."""
    claim = claim_in(report)
    if claim is None or claim.host.is_same(host) or str(claim.host) == take_over_from:
        return None
    return claim


def is_due(report: Mapping[str, str], host: Host) -> bool:
    """Whether the claim is still to be written, under the name that the machine has now."""
    claim = claim_in(report)
    return claim is None or claim.host != host


def refusal(claim: Claim, host: Host) -> tuple[str, str]:
    """Why this host may not change the database, and what to do."""
    of = claim.host
    where = f"on {of.name}" if of.engine != host.engine else "on this host"
    release = f" for {claim.release[:12]}" if claim.release else ""
    what = (
        f"the database {claim.database} belongs to the project {of.project} {where}, which changed it last at "
        f"{claim.changed}{release}. With two on one database each drops what the code of the other one uses, and each runs a "
        "scheduler"
    )
    advice = (
        f"run it for {of}, or give {host} a database of its own. If the stack of {of} is gone for good: the same command with "
        f"-e app_database_take_over={of} (take_over_from of the module)"
    )
    return what, advice
