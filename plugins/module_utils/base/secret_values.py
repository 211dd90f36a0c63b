# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values of a project are secret: by the name of the variable, else by the look of the value.

The rule is a table in docs/rooms/base.md, "What is masked".
"""

from __future__ import annotations

import re
import shlex
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

#: Shorter values are part of any text.
SHORTEST = 4
#: A line of a value of several lines (a key in PEM), and a random piece of an address's path, from this length on.
LONG_PART = 16
_RANDOM = 8

_LETTERS = re.compile(
    r"PASSWORD|PASSWD|PASSWRD|PASSPHRASE|PASSCODE|SECRET|TOKEN|CREDENTIAL|APIKEY|WEBHOOK|(PASS|PWD|KEY|KEYS|AUTH)\Z"
)
_WORDS = {
    "PW",
    "PSW",
    "PSWD",
    "PIN",
    "SALT",
    "PEPPER",
    "DSN",
    "PAT",
    "CRED",
    "CREDS",
    "JWT",
    "SIG",
    "SIGNATURE",
    "HMAC",
    "SAS",
    "OTP",
}
# The last word of a variable that says something about a secret, and does not hold it: PASSWORD_RESET_TIMEOUT, TOKEN_URL.
_ABOUT = {
    "AGE", "ALGORITHM", "AUDIENCE", "BACKEND", "BACKENDS", "CLASS", "CLASSES", "COUNT", "DAYS", "DIR", "ENABLED", "EXPIRE",
    "EXPIRES", "EXPIRY", "FIELD", "FILE", "FORMAT", "HASHERS", "HEADER", "HOST", "HOURS", "ID", "INTERVAL", "ISSUER", "LENGTH",
    "LIFETIME", "LIMIT", "METHOD", "METHODS", "MINUTES", "MODE", "MODEL", "NAME", "PATH", "POLICY", "PORT", "PREFIX", "REALM",
    "REQUIRED", "ROUNDS", "SECONDS", "SIZE", "SOCK", "TIMEOUT", "TTL", "TYPE", "URI", "URL", "USER", "USERNAME", "VALIDATORS",
}  # fmt: skip
# A variable that names a version of something: what it holds looks random, and is in every message on purpose.
_VERSIONS = re.compile(r"VERSION|REVISION|COMMIT|RELEASE|BUILD|DIGEST|IMAGE|(^|_)(SHA\d*|TAG|HASH|REF)(_|$)")
_NAMES = re.compile(
    r"(^|_)(USER(NAME)?|DB|DATABASE|NAME|HOST(NAME)?|DOMAIN|SERVER|SERVICE|MODULE|BUCKET|REGION|QUEUE|VHOST)\Z"
)
# Words that modules return as data, and names of programs: replaced, they would break results and tell the secret.
_OUR_WORDS = """
absent actions active add added admin after always applied auto back backup bad before broker build built canary celery
change changed check container created current database default deploy django docker done down drain email error exited
expand failed false file files finished forward found guest hotfix image in_place info job joined kept known localhost lock
main mariadb master md5 migrate migration missing module mongo moved mysql never nginx no none none null off ok on passed
plan planned postgres postgresql prepared present production project proxy pull rabbitmq ready redis release removed
required restart restored retired reverted rollback rolling root route running scheduler sealed service services serving
staging start started state status step stopped success table task tasks test tests true trust undo undone unhealthy unknown
update user value verified version waiting warning web worker workers yes
"""
_COMMON = frozenset(_OUR_WORDS.split())

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s\"'<>`]+)")
_PAIR = re.compile(r"(?i)([a-z][a-z_-]*)\s*=\s*('[^']*'|\"[^\"]*\"|[^\s;&,'\"]+)")
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[a-z0-9-]{1,63})*\.[a-z][a-z-]{1,30}(:\d+)?")
_PATH = re.compile(r"(?:\.{0,2}|~)/[A-Za-z0-9._@~%:-]+(/[A-Za-z0-9._@~%:-]*)*")
_SPLIT = re.compile(r"[\s,;\"'{}\[\]()<>|]+")
_PIECES = re.compile(r"[^A-Za-z0-9]+")
_WORDLIKE = re.compile(
    r"[A-Za-z]?[a-z]+\d{0,4}|[A-Z]+\d{0,4}|\d+[A-Za-z]{0,3}|[vV]\d+[a-z]*\d*|\d{8}T\d{4,6}Z?|\d+x\d+|x86|[0-9a-f]{40}"
)
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_NO_VOWEL = re.compile(r"(?i)[b-df-hj-np-tv-xz]{6}")

#: In a generated Compose file: of which release it is.
MARK = "x-evenkeel-release"


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret, as ``DB_PWD``, ``SMTP_PW`` and ``SECRET_KEY_BASE`` do."""
    words = [word.rstrip("0123456789") for word in _PIECES.sub("_", name).upper().strip("_").split("_")]
    if words in (["PWD"], ["OLDPWD"]) or words[-1] in _ABOUT:
        return False
    return any(word in _WORDS or _LETTERS.search(word) for word in words)


def looks_random(value: str) -> bool:
    """Whether one word was drawn by a machine: pieces of eight characters and more that no words, numbers or names are."""
    if len(value) < _RANDOM or _HOST.fullmatch(value) or _PATH.fullmatch(value):
        return False
    return sum(len(piece) for piece in _PIECES.split(value) if not _is_wordlike(piece)) >= _RANDOM


def _is_wordlike(piece: str) -> bool:
    if len(piece) >= 10 and _NO_VOWEL.search(piece) and piece.isalpha():
        return False
    if _WORDLIKE.fullmatch(piece):
        return True
    words = _CAMEL.findall(piece)
    return piece.isalpha() and "".join(words) == piece and len(piece) >= 3 * len(words)


def secret_parts(name: str, value: str) -> set[str]:
    """What of a variable's value may not be shown; empty where all of it may."""
    found = set(_by_looks(name, value))
    if is_secret_name(name) and not _is_address(value):
        found |= {value, value.strip()}
        found |= {line.strip() for line in value.splitlines() if len(line.strip()) >= LONG_PART}
    return {part for part in found if len(part) >= SHORTEST and part.lower() not in _COMMON}


def _is_address(value: str) -> bool:
    """Whether a value is an address, of which only the password is secret."""
    scheme, colon, _rest = value.partition("://")
    return bool(colon and _URL.fullmatch(value) and (scheme.lower() in _OF_PAGES or credentials_of(value)[0]))


def _by_looks(name: str, value: str) -> Iterator[str]:
    for address in _addresses(value):
        yield from of_address(address)
    for key, given in _PAIR.findall(value):
        if is_secret_name(key):
            yield given.strip("'\"")
    if _VERSIONS.search(name.upper()):
        return
    for word in _SPLIT.split(_URL.sub(" ", value)):
        if word and looks_random(word.rstrip(".:")):
            yield word.rstrip(".:")


def _addresses(value: str) -> Iterator[str]:
    for several in _URL.finditer(value):
        yield from re.split(r"[,;|](?=[A-Za-z0-9+.-]+://)", several[0])


def of_address(address: str) -> set[str]:
    """The password of an address, as it stands there and decoded, and long random pieces of its path and query."""
    found: set[str] = set()
    who, rest = credentials_of(address)
    if who:
        user, _colon, password = who.partition(":")
        # A token is a user without a password: https://TOKEN@host/.
        report = password if password else user if looks_random(user) else ""
        found |= {report, urllib.parse.unquote(report)} - {""}
    for piece in re.split(r"[/?&=#]", rest)[1:]:
        if len(piece) >= LONG_PART and looks_random(piece):
            found.add(piece)
    return found


#: Schemes of addresses that end in a path with signs of its own: there an ``@`` may be part of it.
_OF_PAGES = ("http", "https", "ws", "wss", "ftp", "file")


def credentials_of(address: str) -> tuple[str, str]:
    """``user:password`` of an address, empty where there is none, and what comes after it; a ``/`` or ``@`` may be in them."""
    scheme, _colon, rest = address.partition("://")
    if "@" not in rest:
        return "", rest
    before_path = re.split(r"[/?#]", rest, maxsplit=1)[0]
    _host, colon, port = before_path.rpartition("]")[2].partition(":")
    if scheme.lower() in _OF_PAGES and "@" not in before_path and (not colon or port.isdecimal()):
        return "", rest
    # The last one ends a password that has others: of https://user:password@host/@name more is hidden than need be.
    who, _at, after = rest.rpartition("@")
    if scheme.lower().endswith("ssh") and ":" not in who:
        return "", rest
    return who, after


def assignments(text: str) -> list[tuple[str, str]]:
    """Name and value of each variable of an environment file, without quotes and comments, as Compose reads it."""
    found = []
    pattern = re.compile(
        r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*[=:][ \t]*"
        r"('[^']*'|\"(?:[^\"\\]|\\.)*\"|[^\r\n]*)",
        re.MULTILINE,
    )
    for name, raw in pattern.findall(text):
        value = raw.strip()
        if value[:1] == value[-1:] == "'" and len(value) > 1:
            found.append((name, value[1:-1]))
        elif value[:1] == value[-1:] == '"' and len(value) > 1:
            found.append((name, re.sub(r'\\([\\"$])', r"\1", value[1:-1]).replace("\\n", "\n")))
        else:
            found.append((name, re.sub(r"(^|[ \t]+)#.*", "", value)))
        if "\n" in value:
            # A quote that nobody closed, which Compose would not take: the lines after it are variables all the same.
            found += [(name, value.splitlines()[0].lstrip("\"'")), *assignments(value.partition("\n")[2])]
    return found


def variables_of(project: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of everything in a resolved project that may hold a secret, under the name that it has there."""
    for service in (project.get("services") or {}).values():
        for key, value in service.items():
            if key != "image":
                yield from _leaves(key, value)
    for section in ("configs", "secrets"):
        for name, definition in (project.get(section) or {}).items():
            if isinstance(definition, Mapping) and definition.get("content"):
                yield (f"{name}_SECRET" if section == "secrets" else name), _plain(definition["content"])
    for section in ("volumes", "networks"):
        for definition in (project.get(section) or {}).values():
            yield from _leaves(section, (definition or {}).get("driver_opts"))


def _plain(value: Any) -> str:
    return str(value).replace("$$", "$")


def _leaves(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(str(name), inner)
    elif isinstance(value, list):
        yield from _options([_plain(v) for v in value if isinstance(v, (str, int, float))])
        for inner in value:
            yield from _leaves(key if isinstance(inner, str) else "", inner)
    elif isinstance(value, str):
        text = _plain(value)
        yield key, text
        if key in ("command", "entrypoint", "test"):
            yield from _options(_words(text))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """What follows the options of a command line, such as ``--requirepass``, and variables that are set before it."""
    if len(words) == 1 or words[:1] == ["CMD-SHELL"] or words[1:2] == ["-c"]:
        words = list(chain.from_iterable(_words(word) for word in words))
    of_redis = any(word.endswith(("redis-cli", "valkey-cli")) for word in words)
    for word, following in zip(words, [*words[1:], ""]):
        name, equals, given = word.lstrip("-").partition("=")
        if not equals and not word.startswith("-"):
            continue
        given = given if equals else following
        # The file of a key is none.
        if not given.startswith("-") and not _PATH.fullmatch(given):
            yield ("PASSWORD" if of_redis and word == "-a" else name), given


def names_in(project: Mapping[str, Any]) -> set[str]:
    """The names that a project goes by, which stay readable: its own, and those of services, networks, volumes, images."""
    found = {str(project.get("name") or "")}
    for section in ("services", "networks", "volumes", "configs", "secrets"):
        for key, definition in (project.get(section) or {}).items():
            found |= {str(key), str((definition or {}).get("name") or "")}
    for service in (project.get("services") or {}).values():
        found |= {str(service.get(key) or "") for key in ("image", "container_name", "hostname")}
        for network in (service.get("networks") or {}).values() if isinstance(service.get("networks"), Mapping) else ():
            found |= {str(alias) for alias in (network or {}).get("aliases") or ()}
    return found - {""}


def named_by(variables: Iterable[tuple[str, str]]) -> set[str]:
    """Values that are names although they may be passwords too: of users, databases, hosts and modules."""
    found: set[str] = set()
    for name, value in variables:
        if _NAMES.search(name.upper()):
            found.add(value)
        for address in _addresses(value):
            who, rest = credentials_of(address)
            found |= {who.partition(":")[0], *re.split(r"[/?#]", rest)[:2]} if who else set()
    return {value for value in found if value and not looks_random(value)}
