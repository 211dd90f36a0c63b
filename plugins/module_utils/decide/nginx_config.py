# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll must know of an nginx configuration: who is proxied to, by which name, with which headers.

Reads the output of ``nginx -T``.  Anything it does not fully understand is refused by name rather than
guessed at, since a wrong guess loses requests.  crossplane is its oracle in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace


class UnreadableConfig(Exception):
    """The configuration holds something that cannot be understood safely; the message names it."""


@dataclass(frozen=True)
class Directive:
    """One directive: its words, and the directives of its block (None when it has no block)."""

    words: tuple[str, ...]
    block: tuple[Directive, ...] | None = None

    @property
    def name(self) -> str:
        return self.words[0]


@dataclass(frozen=True)
class Route:
    """One way from the outside to a service.

    ``host`` and ``port`` are what nginx connects to; ``server_name``, ``listen`` and ``tls`` are how users
    reach it; ``headers`` are those it sets, still with nginx variables in them.  ``static_name`` is whether
    nginx resolves the name only when it starts or reloads.
    """

    host: str
    port: int
    server_name: str = ""
    listen: int = 80
    tls: bool = False
    location: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    static_name: bool = True
    how: str = "proxy_pass"


_FILE_MARK = re.compile(r"^# configuration file (.+):$")
_LUA_BLOCK = re.compile(r"_by_lua_block$|^(perl|js)_")


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Yield ``(token, quoted)``; a bare ``{``, ``}`` or ``;`` is a token of its own."""
    position, length = 0, len(text)
    while position < length:
        char = text[position]
        if char.isspace():
            position += 1
        elif char == "#":
            end = text.find("\n", position)
            position = length if end < 0 else end
        elif char in "{};":
            yield char, False
            position += 1
        elif char in "\"'":
            word, position = _quoted(text, position)
            yield word, True
        else:
            word, position = _bare(text, position)
            yield word, False


def _quoted(text: str, start: int) -> tuple[str, int]:
    quote, position, word = text[start], start + 1, []
    while position < len(text):
        char = text[position]
        if char == "\\" and position + 1 < len(text):
            following = text[position + 1]
            word.append(following if following in (quote, "\\") else char + following)
            position += 2
        elif char == quote:
            return "".join(word), position + 1
        else:
            word.append(char)
            position += 1
    raise UnreadableConfig(f"a quote that is opened and never closed: {text[start : start + 40]!r}")


def _bare(text: str, start: int) -> tuple[str, int]:
    position, word = start, []
    while position < len(text):
        char = text[position]
        if char == "\\" and position + 1 < len(text):
            word.append(text[position : position + 2])
            position += 2
        elif char == "$" and text.startswith("${", position):
            end = text.find("}", position)
            if end < 0:
                raise UnreadableConfig(f"a variable that is never closed: {text[position : position + 40]!r}")
            word.append(text[position : end + 1])
            position = end + 1
        elif char.isspace() or char in "{};":
            break
        else:
            word.append(char)
            position += 1
    return "".join(word), position


def parse(text: str) -> tuple[Directive, ...]:
    """Parse nginx configuration text into directives.

    :raises UnreadableConfig: unbalanced braces or quotes, or embedded code (Lua, Perl, njs blocks).
    """
    stack: list[list[Directive]] = [[]]
    heads: list[tuple[str, ...]] = []
    words: list[str] = []
    for token, quoted in _tokens(text):
        if quoted or token not in "{};":
            words.append(token)
        elif token == ";":
            if words:
                stack[-1].append(Directive(tuple(words)))
            words = []
        elif token == "{":
            if words and _LUA_BLOCK.search(words[0]):
                raise UnreadableConfig(f"{words[0]}: embedded code is not understood")
            heads.append(tuple(words) or ("",))
            stack.append([])
            words = []
        else:
            if not heads or words:
                raise UnreadableConfig("unbalanced braces" if not heads else f"{words[0]} is not ended by a semicolon")
            block = tuple(stack.pop())
            stack[-1].append(Directive(heads.pop(), block))
    if heads or words:
        raise UnreadableConfig(f"it ends inside {(heads[-1] if heads else words)[0]!r}")
    return tuple(stack[0])


def split_dump(text: str) -> dict[str, str]:
    """Split the output of ``nginx -T`` into its files, path to text, in the order in which it has them."""
    files: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        mark = _FILE_MARK.match(line)
        if mark:
            lines = files.setdefault(mark.group(1), [])
        else:
            lines.append(line)
    return {path: "\n".join(body) + "\n" for path, body in files.items()}


def load(dump: str) -> tuple[Directive, ...]:
    """The whole configuration as one tree, every ``include`` replaced by what it includes.

    :param dump: the output of ``nginx -T``.
    :raises UnreadableConfig: when there is no file in it, or one cannot be parsed.
    """
    files = split_dump(dump)
    if not files:
        raise UnreadableConfig("nginx -T printed no configuration file")
    main = next(iter(files))
    prefix = main.rsplit("/", 1)[0]
    return tuple(_expand(parse(files[main]), files, prefix, 0))


def _expand(directives: Sequence[Directive], files: dict[str, str], prefix: str, depth: int) -> Iterator[Directive]:
    if depth > 20:
        raise UnreadableConfig("includes are nested more than twenty deep")
    for directive in directives:
        if directive.name == "include" and len(directive.words) == 2:
            pattern = directive.words[1]
            pattern = pattern if pattern.startswith("/") else f"{prefix}/{pattern}"
            for path in files:
                if _glob(pattern).match(path):
                    yield from _expand(parse(files[path]), files, prefix, depth + 1)
        elif directive.block is not None:
            yield replace(directive, block=tuple(_expand(directive.block, files, prefix, depth + 1)))
        else:
            yield directive


def _glob(pattern: str) -> re.Pattern[str]:
    translated = re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.compile(f"{translated}$")


def routes(tree: Sequence[Directive]) -> tuple[Route, ...]:
    """Every way from a server block to an upstream address, in the order of the configuration.

    :raises UnreadableConfig: a ``*_pass`` whose target cannot be told.
    """
    http = [d for d in tree if d.name == "http" and d.block is not None]
    found: list[Route] = []
    for block in http:
        inside = block.block or ()
        upstreams = {d.words[1]: d for d in inside if d.name == "upstream" and len(d.words) > 1}
        base = _headers(inside, ())
        for server in (d for d in inside if d.name == "server"):
            found.extend(_server_routes(server.block or (), upstreams, base))
    return tuple(found)


def _server_routes(
    server: Sequence[Directive], upstreams: dict[str, Directive], inherited: tuple[tuple[str, str], ...]
) -> list[Route]:
    names = [w for d in server if d.name == "server_name" for w in d.words[1:]]
    plain = [n for n in names if re.match(r"^[A-Za-z0-9.-]+$", n)]
    port, tls = 80, False
    listens = [d for d in server if d.name == "listen"]
    if listens:
        address = listens[0].words[1]
        last = address.rsplit(":", 1)[-1] if not address.endswith("]") else "80"
        port = int(last) if last.isdigit() else 80
        tls = "ssl" in listens[0].words
    frame = Route(host="", port=0, server_name=plain[0] if plain else "", listen=port, tls=tls)
    return list(_location_routes(server, frame, upstreams, _headers(server, inherited)))


def _location_routes(
    directives: Sequence[Directive], frame: Route, upstreams: dict[str, Directive], headers: tuple[tuple[str, str], ...]
) -> Iterator[Route]:
    for directive in directives:
        if directive.name == "proxy_pass" and len(directive.words) == 2:
            for host, port, static in _targets(directive.words[1], upstreams):
                yield replace(frame, host=host, port=port, static_name=static, headers=headers)
        elif directive.name in ("uwsgi_pass", "grpc_pass", "fastcgi_pass", "scgi_pass") and len(directive.words) == 2:
            for host, port, static in _targets(f"http://{directive.words[1].split('://')[-1]}", upstreams):
                yield replace(frame, host=host, port=port, static_name=static, headers=headers, how=directive.name)
        elif directive.name in ("location", "if", "limit_except") and directive.block is not None:
            path = directive.words[-1] if directive.name == "location" else frame.location
            inner = _headers(directive.block, headers)
            yield from _location_routes(directive.block, replace(frame, location=path), upstreams, inner)


def _headers(block: Sequence[Directive], inherited: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    # nginx inherits proxy_set_header from the outer level only where the inner one sets none at all.
    own = tuple((d.words[1], d.words[2]) for d in block if d.name == "proxy_set_header" and len(d.words) == 3)
    return own or inherited


_TARGET = re.compile(r"^https?://(?P<host>\[[0-9a-fA-F:]+\]|[^/:]+)(?::(?P<port>\d+))?(?P<uri>/.*)?$")


def _targets(target: str, upstreams: dict[str, Directive]) -> Iterator[tuple[str, int, bool]]:
    """Yield ``(host, port, whether the name is resolved once)`` for what a ``proxy_pass`` names."""
    if "$" in target:
        yield target, 0, False
        return
    if re.match(r"^(https?://)?unix:", target):
        yield target, 0, True
        return
    match = _TARGET.match(target)
    if not match:
        raise UnreadableConfig(f"proxy_pass {target}: the target cannot be told")
    host = match.group("host")
    default = 443 if target.startswith("https") else 80
    if host in upstreams and match.group("port") is None:
        for server in (d for d in upstreams[host].block or () if d.name == "server" and len(d.words) > 1):
            address = server.words[1]
            static = "resolve" not in server.words[2:]
            if address.startswith("unix:"):
                yield address, 0, True
                continue
            name, _colon, port = address.partition(":")
            yield name, int(port) if port.isdigit() else default, static
        return
    yield host, int(match.group("port") or default), True


def request_headers(route: Route) -> dict[str, str]:
    """The headers nginx would send for a request by a user of this route, variables filled in.

    Without ``proxy_set_header Host`` nginx sends ``$proxy_host``, the name written in ``proxy_pass``.
    """
    host = route.server_name or "localhost"
    scheme = "https" if route.tls else "http"
    proxy_host = route.host if route.port in (80, 443) else f"{route.host}:{route.port}"
    values = {
        "host": host,
        "http_host": host,
        "server_name": host,
        "proxy_host": proxy_host,
        "scheme": scheme,
        "remote_addr": "127.0.0.1",
        "proxy_add_x_forwarded_for": "127.0.0.1",
        "server_port": str(route.listen),
        "http_x_forwarded_proto": scheme,
        "https": "on" if route.tls else "",
    }
    result = {"Host": proxy_host}
    for name, value in route.headers:
        filled = re.sub(r"\$\{?(\w+)\}?", lambda m: values.get(m.group(1), ""), value)
        key = "Host" if name.lower() == "host" else name
        if filled and key.lower() not in ("connection", "upgrade", "content-length", "transfer-encoding"):
            result[key] = filled
    return result
