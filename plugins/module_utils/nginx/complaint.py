# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nginx says when it refuses a configuration, in the words of a person, and never with a value in it.

nginx quotes whatever stands in a configuration, tokens included.  Only what is a name by its place in the
sentence (a directive, a path, a host) is repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

UPSTREAM = "upstream"
SYNTAX = "syntax"
INCLUDE = "include"
CERTIFICATE = "certificate"
KEY = "key"
PERMISSION = "permission"
OTHER = "other"


@dataclass(frozen=True)
class Complaint:
    """Why nginx refuses: what kind of reason, in one sentence, what to do, and where it stands (line 0: not told).

    ``host`` is the name that means nothing, empty where it is about something else.
    """

    kind: str
    text: str
    advice: str
    file: str = ""
    line: int = 0
    host: str = ""


_LEVEL = re.compile(r"^.*?\[(?:emerg|crit|alert|error)\](?: \d+#\d+:)? ?(.*)$")
_PLACE = re.compile(r" in ([^\s\"]+):(\d{1,9})$")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
# A directive or a variable; what is written in capitals, digits or signs may be a token.
_NAME = re.compile(r"^\$?[a-z][a-z_]{0,39}$")
_CERTIFICATE = re.compile(
    r'^(?:cannot load certificate(?P<key> key)? "(?P<path>[^"]+)"|(?P<call>[\w]+)\("(?P<file>[^"]+)"\) failed \(SSL)'
)
_OPEN = re.compile(r'^(?P<call>\w+)\(\) "(?P<path>[^"]+)" failed \((?P<number>\d{1,9}): (?P<why>[^)]+)\)')
_BIND = re.compile(r"^bind\(\) to (?P<address>\S+) failed \((?P<number>\d{1,9}): (?P<why>[^)]+)\)")
_NO_HOST = re.compile(
    r'^(?:host not found in (?P<place>upstream|resolver) "(?P<host>[^"]*)"|host not found in "(?P<other>[^"]*)")'
)
_REFUSALS = {1: "Operation not permitted", 13: "Permission denied", 30: "Read-only file system"}


def complaint_of(output: str) -> Complaint:
    """The reason in what ``nginx -t`` printed; the first line that counts, since what follows comes of it."""
    said = [m.group(1) for m in map(_LEVEL.match, output.splitlines()) if m]
    plain = [line.strip() for line in output.splitlines() if line.strip()]
    if not said:
        text = _without_values(plain[-1]) if plain else "it gave no reason"
        return Complaint(OTHER, text, "see the log of nginx")
    text = said[0]
    place = _PLACE.search(text)
    file, line = (place.group(1), int(place.group(2))) if place else ("", 0)
    where = f" ({file}, line {line})" if file else ""
    body = text[: place.start()] if place else text
    for judge in (_host, _certificate, _access):
        found = judge(body, where)
        if found:
            return Complaint(
                found[0], found[1], found[2], file, line, _unresolved(body) if found[0] == UPSTREAM else ""
            )
    advice = f"correct line {line} of {file}" if line else "correct the configuration"
    if body.startswith(("invalid parameter", "invalid number of arguments", "unexpected")):
        advice += "; often the line before it lacks its semicolon or brace"
    return Complaint(SYNTAX if file else OTHER, f"{_without_values(body)}{where}", advice, file, line)


def _unresolved(body: str) -> str:
    match = _NO_HOST.match(body)
    text = str(match.group("host") or match.group("other") or "") if match else ""
    host = text.rsplit("@", 1)[-1].split("/", 1)[0]
    return host if re.match(r"^[\w.:\[\]-]{1,253}$", host) else ""


def _host(body: str, where: str) -> tuple[str, str, str] | None:
    match = _NO_HOST.match(body)
    if not match:
        return None
    kind = "resolver" if match.group("place") == "resolver" else "upstream"
    host = _unresolved(body) or "(not shown)"
    return (
        UPSTREAM,
        f"the {kind} {host} cannot be resolved{where}",
        f"correct the name, or start the service {host.split(':')[0]} and see that it shares a network with nginx",
    )


def _certificate(body: str, where: str) -> tuple[str, str, str] | None:
    missing = re.match(r'^no "(ssl_certificate(?:_key)?)" is defined for', body)
    if missing:
        kind = KEY if missing.group(1).endswith("key") else CERTIFICATE
        return kind, f"a server that speaks TLS has no {missing.group(1)}{where}", f"write {missing.group(1)} there"
    match = _CERTIFICATE.match(body)
    if not match:
        return None
    path, call = match.group("path") or match.group("file"), match.group("call") or ""
    kind = KEY if match.group("key") or "PrivateKey" in call else CERTIFICATE
    what = f"the {'key' if kind == KEY else 'certificate'} {path}"
    if "values mismatch" in body:
        return (
            KEY,
            f"{what} does not belong to its certificate{where}",
            "name the key that the certificate was made with",
        )
    # nginx 1.14 and older name the file only; so does ssl_dhparam to this day.
    if call == "BIO_new_file":
        what = f"the certificate, key or DH file {path}"
    if re.search(r"[Nn]o such file", body):
        return kind, f"{what} is not there{where}", f"put {path} where nginx sees it, or correct the path"
    if re.search(r"[Pp]ermission denied", body):
        return PERMISSION, f"{what} may not be read by nginx{where}", f"let the user of nginx read {path}"
    return kind, f"{what} cannot be read as one{where}", f"see with openssl what {path} really holds"


def _access(body: str, where: str) -> tuple[str, str, str] | None:
    bound = _BIND.match(body)
    if bound:
        address = bound.group("address")
        if int(bound.group("number")) in _REFUSALS:
            return (
                PERMISSION,
                f"nginx may not listen on {address}: {bound.group('why')}{where}",
                "listen above port 1023",
            )
        return OTHER, f"nginx cannot listen on {address}: {bound.group('why')}{where}", "choose an address that is free"
    match = _OPEN.match(body)
    if not match:
        return None
    path, why, call = match.group("path"), match.group("why"), match.group("call")
    if int(match.group("number")) in _REFUSALS:
        advice = f"give the user of nginx the right to {path}, or mount a folder that can be written to over it"
        return PERMISSION, f"nginx has no permission on {path}: {why}{where}", advice
    # Only what is included is opened at a line of a configuration; log and pid files are opened afterwards.
    if call == "open" and where and int(match.group("number")) == 2:
        return INCLUDE, f"the included file {path} is not there{where}", f"put {path} where nginx sees it"
    return OTHER, f"{path}: {why}{where}", f"see that {path} can be made and written to by nginx"


def _without_values(text: str) -> str:
    """The sentence, with everything quoted left out that is no name of nginx's own."""

    def show(match: re.Match[str]) -> str:
        word = match.group(1)
        if re.search(r"(value|parameter|arguments?) $", text[: match.start()]):
            return '"…"'
        signs = word in ("{", "}", ";", "/", "listen ... ssl", "listen ... http2")
        return f'"{word}"' if signs or _NAME.match(word) else '"…"'

    shown = _QUOTED.sub(show, text)
    # An odd quote inside the value itself: what follows it cannot be told apart.
    return shown.rsplit('"', 1)[0] + '"…' if shown.count('"') % 2 else shown
