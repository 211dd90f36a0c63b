# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site asked by its own address, as role ``verify`` asks it, without the second that a module of its own costs.

Unlike ``probing``, which asks our own nginx or container, redirects are followed and certificates checked: as users meet it.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.options import read
from ...engine.services import BadService, Probe, asked_of, probes

#: The arguments of the modules that ask it (documentation fragment ``smoke_test``).
SMOKE_TEST_SPEC: dict[str, Any] = {
    "health_url": {"type": "str"},
    "prove": {"type": "list", "elements": "dict"},
}


_READ = 4 * 1024 * 1024


@dataclass(frozen=True)
class SmokeTestOptions:
    """What the site is asked: its health by a URL (empty: nothing is asked), and the probes of ``prove`` besides."""

    health_url: str = ""
    prove: tuple[Mapping[str, Any], ...] = ()


def smoke_test_options(params: Mapping[str, Any]) -> SmokeTestOptions:
    """What a module was told to ask of the site."""
    return read(SmokeTestOptions, SMOKE_TEST_SPEC, params)


def questions(prove: Sequence[Mapping[str, Any]]) -> tuple[Probe, ...]:
    """What is asked besides the health.

    :raises BadInput: ``prove`` of a module's arguments has something else in it.
    """
    try:
        return probes(prove, "prove")
    except BadService as error:
        raise BadInput(str(error), "correct app_verify_paths") from error


def wrong(url: str, probes: Sequence[Probe], tries: int = 5, pause: float = 1.0) -> str:
    """What users do not get as they should, in a sentence; empty where all is well or no address is known.

    :param url: what is asked for the app's health; the paths of ``probes`` are asked of the same host.
    :param pause: seconds between two tries.
    """
    if not url:
        return ""
    parts = urllib.parse.urlsplit(url)
    site = f"{parts.scheme}://{parts.netloc}"
    said = ""
    for number in range(tries):
        if number:
            time.sleep(pause)
        said = next(filter(None, (_asked(site, probe) for probe in (Probe(asked_of(url)), *probes))), "")
        if not said:
            break
    return said


def _asked(site: str, probe: Probe) -> str:
    request = urllib.request.Request(site + probe.path, method=probe.method, headers={"User-Agent": "evenkeel"})
    what = f"{probe.method} {site}{probe.path}"
    try:
        with urllib.request.build_opener().open(request, timeout=30) as answer:
            status, body = answer.status, answer.read(_READ)
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read(_READ)
    except (OSError, ValueError) as error:
        return f"{what} was not answered: {getattr(error, 'reason', None) or error}"
    if status != probe.status:
        return f"{what} answered {status}"
    return "" if probe.contains.encode() in body else f"{what} answered without {probe.contains!r}"
