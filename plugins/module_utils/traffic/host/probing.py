# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a web service one question, with the headers that nginx would send, and judging the answer."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from ...engine.answer import Answer
from ...engine.services import Probe

_BODY_READ = 1024 * 1024


@dataclass(frozen=True)
class Reply:
    """What came back: the status, the beginning of the body, and where a redirect leads to (empty for none)."""

    status: int
    body: bytes = b""
    location: str = ""


class NoReply(Exception):
    """No whole answer came. The text goes on after "was not answered"; ``cause`` is what was raised below."""

    def __init__(self, text: str, cause: Exception) -> None:
        super().__init__(text)
        self.cause = cause


class _Connection(http.client.HTTPConnection):
    """Plain or TLS to a given address, whatever the certificate says: it is our own host we ask."""

    def __init__(self, address: str, port: int, timeout: float, server_name: str) -> None:
        super().__init__(address, port, timeout=timeout)
        self._server_name = server_name

    def connect(self) -> None:
        self.sock = _connected(self.host, self.port, self.timeout or 0.0)
        if self._server_name:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock, server_hostname=self._server_name)


def _connected(address: str, port: int, timeout: float) -> socket.socket:
    """A connection to a port, or to the socket at a path."""
    if not address.startswith("/"):
        return socket.create_connection((address, port), timeout)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def ask(
    address: str,
    port: int,
    probe: Probe,
    headers: Mapping[str, str],
    timeout: float = 10.0,
    tls_name: str = "",
    any_success: bool = False,
    uwsgi: bool = False,
) -> Answer:
    """Send one request and hold the answer against what the probe expects.

    :param address: an address, or the path of a UNIX socket (``port`` means nothing then).
    :param tls_name: the server's name where TLS is spoken, empty for plain HTTP.
    :param uwsgi: speak the uwsgi protocol, as ``uwsgi_pass`` does.
    :param any_success: take every status below 400 (readiness), not just the probe's own.
    :returns: the answer; ``text`` tells what came, as a user would report it.
    """
    what = f"{probe.method} {probe.path}"
    connection = _Connection(address, port, timeout, tls_name)
    try:
        reply = reply_over(connection, probe.method, probe.path, headers, timeout, uwsgi=uwsgi)
    except NoReply as error:
        return Answer(False, f"{what} was not answered{error}")
    good = reply.status < 400 if any_success else reply.status == probe.status
    said = f"{what} answered {reply.status}"
    if good and probe.contains and probe.contains.encode() not in reply.body:
        return Answer(False, f"{said}, but without {probe.contains!r}", reply.status)
    return Answer(good, said, reply.status)


def ends_connections(address: str, port: int, path: str, headers: Mapping[str, str], timeout: float = 10.0) -> bool:
    """Whether a server closes a connection after one answer, though it is asked to keep it."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={**headers, "User-Agent": "evenkeel"})
        answer = connection.getresponse()
        answer.read(_BODY_READ)
        return answer.will_close
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reply_over(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    timeout: float,
    most: int = _BODY_READ,
    uwsgi: bool = False,
) -> Reply:
    """Send one request over a connection of its own, which is closed after it.

    :param path: path and query; what may not stand in a request line is quoted.
    :param timeout: seconds for all of the answer once it is connected.
    :param most: bytes of the body that are read.
    :raises NoReply: no whole answer came in time.
    """
    deadline = time.monotonic() + timeout
    sock: socket.socket | None = None
    late = threading.Event()

    def cut() -> None:
        # Each line that drips in is in time; only all of them together are not.
        late.set()
        with contextlib.suppress(OSError):
            if sock is not None:
                sock.shutdown(socket.SHUT_RDWR)

    cutter = threading.Timer(timeout, cut)
    cutter.daemon = True
    cutter.start()
    try:
        path = urllib.parse.quote(path, safe="/?#[]@!$&'()*+,;=:%~")
        sent = {**headers, "User-Agent": "evenkeel", "Connection": "close"}
        if uwsgi:
            sock = _connected(connection.host, connection.port, timeout)
            sock.sendall(uwsgi_packet(method, path, sent))
            response = http.client.HTTPResponse(sock, method=method)
            response.begin()
        else:
            _send(connection, method, path, sent)
            # http.client forgets the socket once it knows that the connection will be closed.
            sock = connection.sock
            response = connection.getresponse()
        body = _body(response, sock, deadline, most)
        if late.is_set():
            # Headers that were cut off look like the last ones.
            raise socket.timeout
        return Reply(response.status, body, response.getheader("Location") or "")
    except socket.timeout as error:
        raise NoReply(f" within {timeout:g} s", error) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if late.is_set():
            raise NoReply(f" within {timeout:g} s", error) from error
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NoReply(f": {why}", error) from error
    finally:
        cutter.cancel()
        connection.close()
        if sock is not None:
            sock.close()


def _send(connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str]) -> None:
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value.encode("utf-8"))
    if method not in ("GET", "HEAD"):
        connection.putheader("Content-Length", "0")
    connection.endheaders()


def uwsgi_packet(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """A request in the uwsgi protocol with what nginx's own ``uwsgi_params`` sends.

    Four bytes (modifier 0, size in little-endian order, modifier 0), then pairs of strings, each after its size in two
    bytes (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html).
    """
    address, _question, query = path.partition("?")
    host = headers.get("Host", "localhost")
    secure = headers.get("X-Forwarded-Proto") == "https"
    values = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": path,
        "PATH_INFO": urllib.parse.unquote(address),
        "QUERY_STRING": query,
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "0" if method not in ("GET", "HEAD") else "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": host.partition(":")[0],
        "SERVER_PORT": "443" if secure else "80",
        "REQUEST_SCHEME": "https" if secure else "http",
        "REMOTE_ADDR": "127.0.0.1",
        **({"HTTPS": "on"} if secure else {}),
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
    }
    body = b"".join(
        struct.pack("<H", len(word)) + word
        for pair in values.items()
        for word in (part.encode("utf-8") for part in pair)
    )
    return struct.pack("<BHB", 0, len(body), 0) + body


def _body(response: http.client.HTTPResponse, sock: socket.socket, deadline: float, most: int) -> bytes:
    """The body, or the start of a long one; one that only drips is not there in time either."""
    body = bytearray()
    while len(body) < most:
        left = deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout
        if not response.isclosed():
            sock.settimeout(left)
        part = response.read1(65536)
        if not part:
            if response.length:
                raise http.client.IncompleteRead(bytes(body), response.length)
            break
        body += part
    return bytes(body)
