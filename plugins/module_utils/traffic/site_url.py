# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address of a site: which server it means, where a redirect leads from there, and by which names nginx knows the site."""

from __future__ import annotations

import base64
import ipaddress
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..base.masking import shown_address
from ..nginx.config import Route, may_lead

_PORTS = {"http": 80, "https": 443}


class BadUrl(Exception):
    """It is no address of a site; the message names it, without its secrets."""


@dataclass(frozen=True)
class SiteUrl:
    """One address of a site.

    :ivar host: a name in lower case as DNS has it, or an address without brackets.
    :ivar target: path and query.
    :ivar credentials: ``user:password``, empty for none.
    """

    scheme: str
    host: str
    port: int
    target: str = "/"
    credentials: str = field(default="", repr=False)

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """What the ``Host`` header has."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        given = base64.b64encode(self.credentials.encode()).decode()
        return {"Host": self.authority, **({"Authorization": f"Basic {given}"} if given else {})}

    @property
    def is_name(self) -> bool:
        """Whether it has a name that users ask by, and not an address or ``localhost``."""
        return _address(self.host) is None and not _is_localhost(self.host)

    @property
    def is_here(self) -> bool:
        """Whether it says by itself that this server is asked."""
        address = _address(self.host)
        return _is_localhost(self.host) or bool(address is not None and address.is_loopback)

    def at(self, target: str) -> SiteUrl:
        """Another path of the same site."""
        return replace(self, target=target)

    def __str__(self) -> str:
        return shown_address(f"{self.scheme}://{self.authority}{self.target}")


def parse(text: str) -> SiteUrl:
    """The address that somebody wrote.

    :raises BadUrl: it is none of http or https.
    """
    try:
        parts = urllib.parse.urlsplit(text.strip())
        port, host = parts.port, (parts.hostname or "").encode("idna").decode() if parts.hostname else ""
    except ValueError as error:
        # What Python says quotes what it took for a port, which may be a part of a password.
        raise _bad(text) from error
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host:
        raise _bad(text)
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    who = urllib.parse.unquote(parts.username or "")
    credentials = f"{who}:{urllib.parse.unquote(parts.password or '')}" if who else ""
    return SiteUrl(scheme, host.lower(), port or _PORTS[scheme], target, credentials)


def _bad(text: str) -> BadUrl:
    shown = shown_address(text) if "://" in text else text.rpartition("@")[2]
    return BadUrl(f"{shown} is no address of a site: write http:// or https://, and a name with or without a port")


def redirected(url: SiteUrl, location: str) -> SiteUrl:
    """Where an answer's ``Location`` leads to; user and password go along to the same host alone.

    :raises BadUrl: to nothing that can be asked.
    """
    found = parse(urllib.parse.urljoin(f"{url.scheme}://{url.authority}{url.target}", location))
    same = found.host == url.host and (found.tls or not url.tls)
    return replace(found, credentials=url.credentials) if same and not found.credentials else found


def leads_away(first: SiteUrl, now: SiteUrl, addresses: Callable[[str], Collection[str]]) -> bool:
    """Whether a redirect has led to another site than the one that was asked, such as a login at another company.

    Another name of this server is at the same addresses, whether those are its own or a load balancer's.

    :param addresses: of a name, as DNS says; none where it does not know it.
    """
    if not (first.is_name and now.is_name) or first.host == now.host:
        return False
    home, there = set(addresses(first.host)), set(addresses(now.host))
    return bool(home and there and not home & there)


def fits(host: str, certificate: Mapping[str, Any]) -> bool:
    """Whether a certificate is for a name; ``*`` stands for one label.

    :param certificate: as ``SSLSocket.getpeercert`` returns it.
    """
    own = names_in(certificate)
    return host in own or f"*.{host.partition('.')[2]}" in own


def names_in(certificate: Mapping[str, Any]) -> list[str]:
    """The names that a certificate is for; of one without alternative names its subject's."""
    names = [str(value) for kind, value in certificate.get("subjectAltName") or () if kind == "DNS"]
    subject = [str(value) for part in certificate.get("subject") or () for key, value in part if key == "commonName"]
    return [name.lower() for name in names or subject]


def named_in_nginx(
    routes: Sequence[Route], published: Mapping[int, int] | None, target: str, backends: Collection[int] = ()
) -> list[SiteUrl]:
    """The addresses by which nginx leads users to an app at a path, one for each ``server_name``, TLS before plain.

    :param published: port of the container → port of this host; None where nginx has this host's ports.
    :param backends: ports of this host at which the app is; without any every route is the app's.
    """
    path = target.partition("?")[0]
    found: dict[str, SiteUrl] = {}
    for route in sorted(routes, key=lambda r: not r.tls):
        port = route.listen if published is None else published.get(route.listen, 0)
        at_home = _is_localhost(route.host) or route.host in ("127.0.0.1", "::1")
        mine = not backends or (at_home and route.port in backends)
        serves = may_lead(route.location, path)
        if not (port and mine and serves and route.server_name):
            continue
        url = SiteUrl("https" if route.tls else "http", route.server_name.lower(), port, target)
        if url.is_name:
            found.setdefault(url.host, url)
    return list(found.values())


def suggested(urls: Iterable[SiteUrl]) -> str:
    """What to write as the address of the site, by the names that nginx has."""
    named = [f"app_health_url: {url}" for url in urls]
    if not named:
        return "write the name that users ask by, such as app_health_url: https://www.example.com/health/"
    return f"by its server_name in nginx it is {' or '.join(named)}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")
