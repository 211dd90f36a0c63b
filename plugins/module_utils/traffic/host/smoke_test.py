# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site asked by its own address, as role ``verify`` asks it, without the second that a module of its own costs.

Unlike ``probing``, which asks one container, redirects are followed and certificates have to fit: as users meet it.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.options import read
from ...engine.services import BadService, Probe, probes
from ..misses import ONCE, Miss, judged
from ..site_url import BadUrl, SiteUrl, leads_away, parse, redirected, suggested
from .probing import NoReply, Reply, reply_over
from .public_names import public_addresses
from .site_connection import Names, SiteConnection, Unconnected

#: The arguments of the modules that ask it (documentation fragment ``smoke_test``).
SMOKE_TEST_SPEC: dict[str, Any] = {
    "health_url": {"type": "str"},
    "prove": {"type": "list", "elements": "dict"},
}


# Bytes of a body that are read, seconds for an answer, and redirects in a row.
_READ, _TIMEOUT, _HOPS = 4 * 1024 * 1024, 30.0, 10
_REDIRECTS_AS_GET = (301, 302, 303)
_REDIRECTS = (*_REDIRECTS_AS_GET, 307, 308)


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


@dataclass(frozen=True)
class Asked:
    """What came of it: what users do not get as they should, in a sentence (empty: all is well), and what is worth knowing."""

    problem: str = ""
    notes: tuple[str, ...] = ()


def wrong(url: str, probes: Sequence[Probe], tries: int = 5, pause: float = 1.0, project: str = "") -> str:
    """What users do not get as they should, in a sentence; see :func:`ask_site`."""
    return ask_site(url, probes, tries, pause, project).problem


def ask_site(url: str, probes: Sequence[Probe], tries: int = 5, pause: float = 1.0, project: str = "") -> Asked:
    """Ask a site for its health and by some probes, as its users do, until all is well or waiting can heal nothing.

    A name is asked of this server, whatever DNS says. Where an address of this server (``127.0.0.1``) is answered as by a server
    that knows its site by a name alone, it is asked once more by the ``server_name`` that leads to the app, if there is just one.

    :param url: what is asked for the app's health; the paths of ``probes`` are asked of the same host. Empty: nothing is asked.
    :param pause: seconds between two tries.
    :param project: the app's Compose project, whose nginx tells the name.
    """
    if not url:
        return Asked()
    try:
        site = parse(url)
    except BadUrl as error:
        return Asked(str(error))
    questions_ = (Probe(site.target), *probes)
    questioner = _Questioner()
    named: list[SiteUrl] | None = None
    before = ""
    number = 0
    while True:
        number += 1
        miss = questioner.first_miss(site, questions_)
        if miss and miss.by_name and named is None:
            named = public_addresses(project, site.target)
            if site.is_here and len(named) == 1:
                before, site = f"{miss.text}; by its server_name in nginx, ", named[0]
                miss = questioner.first_miss(site, questions_)
        if miss is None:
            return Asked(notes=(*_name_to_write(site, before), *questioner.notes))
        if number >= min(tries, miss.tries):
            break
        time.sleep(pause)
    hint = _hint(site, miss, named or []) if miss.by_name and not before else ""
    return Asked(f"{before}{miss.text}{hint}", tuple(questioner.notes))


def _hint(site: SiteUrl, miss: Miss, named: Sequence[SiteUrl]) -> str:
    if any(url.host == site.host for url in named) or not (named or (site.is_here and miss.tries == ONCE)):
        return ""
    return f" ({suggested(named)})"


def _name_to_write(site: SiteUrl, before: str) -> tuple[str, ...]:
    if not before:
        return ()
    return (f"{before}{site} answers as it should; app_health_url: {site} asks that at once",)


class _Questioner:
    """Asks of one site; what is worth knowing of where it was led is in ``notes``."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._names = Names()

    def first_miss(self, site: SiteUrl, probes: Sequence[Probe]) -> Miss | None:
        """The first answer that is not as it should be."""
        return next(filter(None, (self._asked(site.at(probe.path), probe) for probe in probes)), None)

    def _asked(self, first: SiteUrl, probe: Probe) -> Miss | None:
        url, method, what = first, probe.method, f"{probe.method} {first}"
        for _hop in range(_HOPS):
            try:
                reply = self._reply(url, method, leads_away(first, url, self._names.addresses))
            except Unconnected as error:
                return _unconnected(what, url, first, error)
            except NoReply as error:
                # nginx closes a connection without a word (444) where it knows no such name.
                silent = isinstance(error.cause, (http.client.RemoteDisconnected, ConnectionResetError))
                return Miss(f"{what} was not answered{error}", by_name=silent)
            if reply.status == probe.status or reply.status not in _REDIRECTS or not reply.location:
                return judged(what, probe, reply.status, reply.body)
            try:
                url = redirected(url, reply.location)
            except BadUrl as error:
                return Miss(f"{what} was redirected: {error}", ONCE)
            what = f"{probe.method} {first}, redirected to {url},"
            if reply.status in _REDIRECTS_AS_GET and method != "HEAD":
                method = "GET"
        return Miss(f"{what} is redirected for ever", ONCE)

    def _reply(self, url: SiteUrl, method: str, away: bool) -> Reply:
        connection = SiteConnection(url, self._names, away)
        if connection.outside and url.is_name and not away:
            note = f"nothing listens on port {url.port} of this server: {url.host} was asked at {connection.outside}, as DNS says"
            if note not in self.notes:
                self.notes.append(note)
        return reply_over(connection, method, url.target, url.headers, _TIMEOUT, _READ)


def _unconnected(what: str, url: SiteUrl, first: SiteUrl, error: Unconnected) -> Miss:
    text = f"{what} was not answered: {error.miss.text}"
    if url == first or not error.nowhere:
        return Miss(text, error.miss.tries, error.miss.by_name)
    # What redirects does answer, so nothing is on its way here: it would lead there for ever.
    return Miss(f"{text}: the redirect of {first} leads there", ONCE, by_name=True)
