# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host has tried of hotfixes, for those who ask it as a staging host, and the refusal of what none has tried."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...base.errors import BadInput
from ...base.options import read
from ...releases.choice import BAD, VERIFIED
from ...releases.host.store import Store
from .. import staging
from ..staging import Content
from . import ledger

#: The arguments of the modules that ask it.
STAGING_SPEC: dict[str, Any] = {
    "staging": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "host": {"type": "str", "required": True},
            "tried": {"type": "list", "elements": "dict", "default": []},
            "problem": {"type": "str"},
        },
    },
    "staging_max_age": {"type": "str", "default": "24h"},
    "skip_staging": {"type": "str"},
}


@dataclass(frozen=True)
class StagingOptions:
    """What staging hosts have said, if any was asked.

    :ivar staging_max_age: seconds after which a test counts no more.
    :ivar skip_staging: why this hotfix cannot wait for one.
    """

    staging: tuple[Mapping[str, Any], ...] = ()
    staging_max_age: float = 86400.0
    skip_staging: str = ""


def staging_options(params: Mapping[str, Any]) -> StagingOptions:
    """What a module was given of that."""
    return read(StagingOptions, STAGING_SPEC, params)


def tried(store: Store, state_dir: str) -> list[dict[str, Any]]:
    """Every hotfix that this host remembers, with contents by checksum only.

    :raises OSError: no permission.
    """
    found = []
    folder = os.path.join(state_dir, "hotfixes")
    for name in ledger.names(state_dir) if os.path.isdir(folder) else []:
        known = ledger.read(state_dir, name)
        about: dict[str, Any] = {"name": name, "env": [str(n) for n in (known.get("kinds") or {}).get("env") or []]}
        if known.get("live") or known.get("database"):
            state, verified = BAD if known.get("reverted") else VERIFIED, _moment(str(known.get("made") or ""))
        else:
            manifest = store.manifest(str(known.get("release") or "")) if known.get("release") else {}
            state, verified = str(manifest.get("state") or ""), float(manifest.get("verified") or 0)
        sums = {str(p): str(s) for p, s in (known.get("given_sums") or {}).items()}
        found.append(
            {**about, "trees": known.get("trees") or {}, "given_sums": sums, "state": state, "verified": verified}
        )
    return found


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def refuse_untried(
    options: StagingOptions, name: str, kinds: Mapping[str, Any], content: Content
) -> tuple[list[str], str]:
    """Refuse a hotfix that the staging hosts have not tried; returns notes, and why it was let through all the same.

    :raises BadInput: it was not, and nobody said why that cannot wait.
    """
    asked = staging.hosts(list(options.staging))
    if not asked:
        return [], ""
    verdict = staging.judge(content, name, asked, time.time(), options.staging_max_age or 0.0)
    if verdict.host:
        return [f"tried on staging: {staging.text(verdict)}"], ""
    reason = " ".join(options.skip_staging.split())
    if reason:
        return [f"not tried on staging, since: {reason}"], reason
    if staging.is_trivial(kinds):
        return [
            "not tried on staging, which is not asked of texts, templates, translations, static files and uploads"
        ], ""
    raise BadInput(*staging.refusal(verdict, name, asked))
