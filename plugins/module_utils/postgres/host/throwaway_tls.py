# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS for a PostgreSQL server that is thrown away: for an app whose settings insist on it, and whose server has it."""

from __future__ import annotations

import base64
import subprocess

from .server import PSQL, PostgresFailed, Server

_PATIENCE = 60.0
_CERTIFICATE = (
    "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=evenkeel-rehearsal",
    "-keyout", "-", "-out", "-",
)  # fmt: skip
# By the server's own hand: so the file is its user's, whoever that is in this image. Its folder is where it looks for both.
_WRITE = "COPY (SELECT '{text}') TO PROGRAM 'umask 077 && base64 -d > {name}';\n"


def offer_tls(server: Server) -> bool:
    """Give a server a key and a certificate that nobody else has; returns whether it took them.

    Who asks for a certificate that others vouch for does not get one; who asks for TLS alone does.
    """
    pem = _pem()
    if not pem:
        return False
    text = base64.b64encode(pem).decode()
    both = "".join(_WRITE.format(text=text, name=name) for name in ("server.key", "server.crt"))
    script = f"{both}ALTER SYSTEM SET ssl = on;\nSELECT pg_catalog.pg_reload_conf();\n"
    try:
        server.run([*server.words(*PSQL), "--dbname", server.database], script.encode(), _PATIENCE)
    except PostgresFailed:
        return False
    return True


def _pem() -> bytes:
    """Key and certificate, each of which a reader of the other passes over; empty where there is no OpenSSL."""
    try:
        done = subprocess.run(
            _CERTIFICATE, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 and b"BEGIN CERTIFICATE" in done.stdout else b""
