# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to a site by its name that ends at this server, or as DNS says where nothing listens here."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterator

from ...base.host.processes import listening_addresses
from ..misses import ONCE, PATIENT, Miss
from ..site_url import SiteUrl, fits, names_in

_CONNECT = 10.0
_ANSWER = 30.0
# X509_V_FLAG_PARTIAL_CHAIN of OpenSSL; Python has a name for it from 3.10 on.
_PARTIAL_CHAIN = 0x80000
#: What OpenSSL calls an answer to a name that a server has no certificate for, and one that is not TLS.
_REFUSES_NAME = ("UNRECOGNIZED_NAME", "HANDSHAKE_FAILURE", "ACCESS_DENIED", "INTERNAL_ERROR")
_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")


class Unconnected(Exception):
    """Nothing could be asked: why, and ``nowhere`` where nothing listens."""

    def __init__(self, miss: Miss, nowhere: bool = False) -> None:
        super().__init__(miss.text)
        self.miss, self.nowhere = miss, nowhere


class Names:
    """What DNS says, each name asked once: without a network it is asked for seconds each time."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = {}

    def addresses(self, name: str) -> list[str]:
        """The addresses of a name, none where it is not known."""
        if name not in self._known:
            try:
                found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                found = []
            self._known[name] = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        return self._known[name]


def ends_here(sock: socket.socket) -> bool:
    """Whether a connection ends at the machine that it began at."""
    there = str(sock.getpeername()[0])
    # The kernel gives both ends the same address then, but for other addresses of loopback than the usual ones.
    return sock.getsockname()[0] == there or ipaddress.ip_address(there.partition("%")[0]).is_loopback


class SiteConnection(http.client.HTTPConnection):
    """One connection for one question, ready to be used.

    :ivar outside: the address that was asked because DNS says so, empty where this server answers.

    :param away: ask as DNS says, although this server listens there too.
    :raises Unconnected: it cannot be had.
    """

    def __init__(self, url: SiteUrl, names: Names, away: bool = False) -> None:
        super().__init__(url.host, url.port, timeout=_ANSWER)
        self._url = url
        plain = self._plain(names, away)
        here = ends_here(plain)
        self.outside = "" if here else str(plain.getpeername()[0])
        plain.settimeout(_ANSWER)
        self.sock = self._secured(plain, here) if url.tls else plain

    def _plain(self, names: Names, away: bool) -> socket.socket:
        problem: OSError | None = None
        for address in self._places(names, away):
            try:
                return socket.create_connection((address, self.port), _CONNECT)
            except ConnectionRefusedError as error:
                problem = problem or error
            except OSError as error:
                problem = error
        raise self._unreached(problem, names, away)

    def _places(self, names: Names, away: bool) -> Iterator[str]:
        """Where to connect to, in order; DNS is asked last, and only for a name that nothing answers to here."""
        url = self._url
        if not (url.is_name or url.is_here):
            yield url.host
            return
        if not away:
            yield "::1" if url.host == "::1" else "127.0.0.1"
            for address in listening_addresses(self.port):
                yield {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
        if url.is_name:
            yield from names.addresses(url.host)

    def _unreached(self, problem: OSError | None, names: Names, away: bool) -> Unconnected:
        url, why = self._url, getattr(problem, "strerror", None) or str(problem or "")
        here = f"nothing listens on port {self.port} of this server"
        refused = isinstance(problem, ConnectionRefusedError)
        if url.is_here:
            return Unconnected(Miss(here if refused else why), refused)
        if not url.is_name:
            return Unconnected(Miss(why))
        there = names.addresses(url.host)
        known = f"{url.host}, which is {' and '.join(there[:2])} in DNS" if there else f"DNS does not know {url.host}"
        if away:
            return Unconnected(Miss(f"{known}: {why}" if there else known, PATIENT if there else ONCE))
        tail = f"{known}, does not answer either ({why})" if there else known
        return Unconnected(Miss(f"{here}, and {tail}"), nowhere=True)

    def _secured(self, plain: socket.socket, here: bool) -> ssl.SSLSocket:
        try:
            return self._own(plain) if here else self._foreign(plain)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            where = "on this server" if here else f"at {self.outside}"
            text = f"the certificate of {self._url.host} {where} is not good: {error.verify_message.rstrip('.')}"
            raise Unconnected(Miss(text, ONCE)) from error
        except ssl.SSLError as error:
            plain.close()
            raise self._untrusted(error) from error
        except OSError as error:
            plain.close()
            raise Unconnected(Miss(f"TLS was not begun: {error.strerror or error}")) from error

    def _untrusted(self, error: ssl.SSLError) -> Unconnected:
        reason = str(error.reason or error)
        if any(word in reason for word in _REFUSES_NAME):
            text = f"the server on port {self.port} has no certificate for {self._url.host} ({reason})"
            return Unconnected(Miss(text, ONCE, by_name=True))
        if any(word in reason for word in _PLAIN):
            return Unconnected(Miss(f"the server on port {self.port} speaks no TLS: write http:// in its place", ONCE))
        return Unconnected(Miss(f"TLS failed: {reason}"))

    def _foreign(self, plain: socket.socket) -> ssl.SSLSocket:
        # Out there anybody could answer: the whole chain has to be right.
        return ssl.create_default_context().wrap_socket(plain, server_hostname=self._url.host)

    def _own(self, plain: socket.socket) -> ssl.SSLSocket:
        """TLS with this server itself: dates and name of its certificate count, and not who has issued it.

        Nobody can come between two ends of one kernel, so a chain proves nothing here. And it may well be one that this server
        does not know: an own authority, the origin certificate of a CDN, one for staging. What users would be shown, a date
        that is over or another name, is found all the same. An address has no certificate that fits, users ask by a name.
        """
        look = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        look.check_hostname, look.verify_mode = False, ssl.CERT_NONE
        address, port = plain.getpeername()[:2]
        with look.wrap_socket(plain, server_hostname=self._url.host) as first:
            shown = first.getpeercert(binary_form=True) or b""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VerifyFlags(_PARTIAL_CHAIN)
        context.load_verify_locations(cadata=shown)
        secured = context.wrap_socket(
            socket.create_connection((address, port), _CONNECT), server_hostname=self._url.host
        )
        secured.settimeout(_ANSWER)
        certificate = secured.getpeercert() or {}
        if self._url.is_name and not fits(self._url.host, certificate):
            secured.close()
            names = ", ".join(names_in(certificate)[:4]) or "no name"
            text = f"the certificate on port {self.port} of this server is for {names}, not for {self._url.host}"
            raise Unconnected(Miss(text, ONCE))
        return secured
