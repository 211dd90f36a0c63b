# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container (``manage.py shell``): how the app connects to its database, as one line ``EVENKEEL {json}``.

A container's output may be kept in a log, or sent to one elsewhere.  So what is secret is printed under a key that is used
once, and that comes by the input of the script.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_ENVIRONMENT = {
    "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE",
    "password": "PGPASSWORD", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY", "channel_binding": "PGCHANNELBINDING",
}  # fmt: skip
_SECRET = ("password", "sslkey")
_HOME = {"sslrootcert": "root.crt", "sslcert": "postgresql.crt", "sslkey": "postgresql.key"}


def _chosen(database: str) -> Any:
    """The connection of the database of that name, else of the default one."""
    from django.db import connections

    for alias in connections:
        one = connections[alias]
        if database and one.vendor == "postgresql" and str(one.settings_dict.get("NAME")) == database:
            return one
    return connections["default"]


def _parameters(connection: Any) -> dict[str, str]:
    """What the driver is given, which an app's own backend may have made at this moment (a token), and libpq's variables."""
    given = {k: v for k, v in os.environ.items() if k in _ENVIRONMENT.values()}
    found = {key: given[variable] for key, variable in _ENVIRONMENT.items() if given.get(variable)}
    own = connection.get_connection_params()
    # Django before 4.0 gave psycopg2 the older word.
    named = {**own, "dbname": own.get("dbname") or own.get("database") or ""}
    found.update({k: str(v) for k, v in named.items() if isinstance(v, (str, int)) and v != "" and v is not None})
    return found


def _connected(connection: Any, found: dict[str, str]) -> int:
    """The server's version, with what only the driver knows (a service file, a password file) added."""
    connection.ensure_connection()
    info = connection.connection.info
    for key in ("host", "port", "user", "dbname", "password"):
        value = getattr(info, key, None)
        if value and not found.get(key):
            found[key] = str(value)
    return int(info.server_version)


def _content(found: dict[str, str], key: str) -> str:
    """What a certificate or key file holds, empty where there is none."""
    path = found.get(key) or os.path.join(os.path.expanduser("~/.postgresql"), _HOME[key])
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return ""


def _own_words(error: BaseException, found: dict[str, str]) -> str:
    text = " ".join(str(error).split())
    if found.get("password"):
        text = text.replace(found["password"], "…")
    return f"{type(error).__name__}: {text}"[:400]


def _sealed(secret: dict[str, str], pad: bytes) -> str:
    """Secrets under a key of at least their length.

    :raises ValueError: it is shorter.
    """
    plain = json.dumps(secret).encode()
    if len(plain) > len(pad):
        raise ValueError("the app's key for its database is too long")
    return bytes(a ^ b for a, b in zip(plain, pad)).hex()


def main(database: str) -> None:
    """Print how to connect, or why that cannot be told.

    :param database: its name, empty for the one of the alias ``default``.
    """
    pad = bytes.fromhex(sys.stdin.readline().strip())
    found: dict[str, str] = {}
    try:
        connection = _chosen(database)
        report: dict[str, Any] = {"vendor": str(connection.vendor), "version": 0, "problem": ""}
        if connection.vendor == "postgresql":
            found = _parameters(connection)
            try:
                report["version"] = _connected(connection, found)
            except Exception as error:  # whatever the driver says of a server that does not answer
                report["problem"] = _own_words(error, found)
            files = {key: _content(found, key) for key in _HOME}
            secret = {"password": found.get("password", ""), "sslkey": files.pop("sslkey")}
            report["files"] = {key: text for key, text in files.items() if text}
            report["parameters"] = {k: v for k, v in found.items() if k in _ENVIRONMENT and k not in _SECRET}
            for key in ("target_session_attrs", "gssencmode", "sslnegotiation", "ssl_min_protocol_version"):
                if found.get(key):
                    report["parameters"][key] = found[key]
            report["sealed"] = _sealed(secret, pad)
    except Exception as error:  # the app's own code, and its own words
        report = {"error": _own_words(error, found)}
    sys.stdout.write("\nEVENKEEL " + json.dumps(report) + "\n")
    sys.stdout.flush()
