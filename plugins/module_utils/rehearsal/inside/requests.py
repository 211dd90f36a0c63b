# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: waits until it answers, then asks it what it is told; one line tells the end.

From inside, because the network of a rehearsal has no address of the host, and so none by which the host could ask.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from typing import Any

_READ = 1024 * 1024


def ask(port: int, request: dict[str, Any], headers: dict[str, str], timeout: float) -> dict[str, Any]:
    """Send one request; returns its path, status (0: none came), seconds, and what was wrong with the answer."""
    began = time.monotonic()
    report = {"path": request["path"], "status": 0, "problem": ""}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.putrequest(request["method"], request["path"], skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, "User-Agent": "evenkeel", "Connection": "close"}.items():
            connection.putheader(name, value.encode("utf-8"))
        connection.endheaders()
        response = connection.getresponse()
        body = response.read(_READ)
        report["status"] = response.status
        wanted = request["status"]
        if response.status >= 400 if wanted == 0 else response.status != wanted:
            report["problem"] = f"answered {response.status}"
        elif request["contains"].encode() not in body:
            report["problem"] = f"answered {response.status}, but without {request['contains']!r}"
    except socket.timeout:
        report["problem"] = f"was not answered within {timeout:g} s"
    except (OSError, http.client.HTTPException, ValueError) as error:
        report["problem"] = f"was not answered: {getattr(error, 'strerror', None) or type(error).__name__}"
    finally:
        connection.close()
    return {**report, "seconds": round(time.monotonic() - began, 3)}


def main(
    port: int,
    ready: dict[str, Any],
    requests: list[dict[str, Any]],
    headers: dict[str, str],
    patience: float,
    each: float,
) -> None:
    """Ask ``ready`` until it is answered well or ``patience`` seconds are over, then each request once."""
    began = time.monotonic()
    while True:
        first = ask(port, ready, headers, min(5.0, patience))
        if not first["problem"] or time.monotonic() - began > patience:
            break
        time.sleep(0.2)
    report: dict[str, Any] = {"ready": {**first, "after": round(time.monotonic() - began, 3)}, "requests": []}
    if not first["problem"]:
        report["requests"] = [ask(port, request, headers, each) for request in requests]
    sys.stdout.write("\nEVENKEEL " + json.dumps(report) + "\n")
    sys.stdout.flush()
