# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this host may change a database, or another one does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...base.errors import BadInput
from ...engine.host.engine import Engine
from ...engine.host.inspection import PROJECT_LABEL
from ...postgres.host.server import Server, asked
from ..database_host import Host, other_claim, refusal
from ..inside.ledger import CLAIM

# Seconds for one row.
_ANSWERS = 60.0


def host_of(engine: Engine, project: str) -> Host | None:
    """This host as its engine knows it; None where the engine has no id."""
    info = engine.info()
    identity = str(info.get("ID") or "")
    return Host(identity, str(info.get("Name") or ""), project) if identity else None


def refuse_other_host(
    engine: Engine, host: Host | None, claims: Iterable[Mapping[str, str]], take_over_from: str
) -> None:
    """Refuse to change databases that another host changes.

    :param claims: what each database has told (``Ledger.claim``).
    :param take_over_from: the host that is gone for good, as the refusal names it.
    :raises BadInput: a database belongs to another host, or to another project of this one that still has containers.
    """
    if host is None:
        return
    for report in claims:
        claim = other_claim(report, host, take_over_from)
        # A project that was renamed or taken down can be seen from here: it has not even a stopped container.
        if claim and (claim.host.engine != host.engine or engine.listed({PROJECT_LABEL: claim.host.project})):
            raise BadInput(*refusal(claim, host))


def refuse_other_host_at(engine: Engine, project: str, server: Server, take_over_from: str) -> None:
    """The same, asked of the server itself; one that cannot be asked refuses nothing.

    :raises BadInput: the database belongs to another host.
    """
    claims = asked(server, f"{CLAIM}\\gexec\n", _ANSWERS)
    if claims:
        refuse_other_host(engine, host_of(engine, project), claims, take_over_from)
