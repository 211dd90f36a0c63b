# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx configurations as users write them: the same tree as crossplane reads, and the routes nginx would take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import Route, named, request_headers, routes
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import (
    Directive,
    UnreadableConfig,
    load,
    parse,
    split_dump,
)
from tests.unit.nginx_dumps import dumped, routes_of

CORPUS = {p.stem: p.read_text() for p in sorted((Path(__file__).parent / "corpus").glob("*.conf"))}
REFUSED = {
    "lua": "access_by_lua_block: embedded code",
    "unclosed_quote": "a quote that is opened",
    "unbalanced": "it ends inside 'http'",
    "no_semicolon": "proxy_pass is not ended by a semicolon",
    "strange_target": "proxy_pass ftp://api:21: the target",
}
ESCAPES = {'"': '"', "'": "'", "\\": "\\", "t": "\t", "r": "\r", "n": "\n"}


def as_nginx_reads(word: str) -> str:
    """crossplane leaves escapes as they are written; this is ngx_conf_read_token's treatment of them."""
    result, rest = "", word
    while rest:
        pair = rest[:2] if rest[0] == "\\" and len(rest) > 1 else rest[0]
        result += ESCAPES.get(pair[1], pair) if len(pair) == 2 else pair
        rest = rest[len(pair) :]
    return result


def crossplane_tree(text: str, folder: Path) -> list[Any]:
    path = folder / "nginx.conf"
    path.write_text(text)
    payload = crossplane.parse(str(path), single=True, check_ctx=False, check_args=False)
    assert payload["status"] == "ok", payload["errors"]

    def plain(directives: list[dict[str, Any]]) -> list[Any]:
        return [
            ([d["directive"], *map(as_nginx_reads, d["args"])], plain(d["block"]) if "block" in d else None)
            for d in directives
            # Comments between the words of a directive come out as directives of their own.
            if d["directive"] != "#"
        ]

    return plain(payload["config"][0]["parsed"])


def our_tree(directives: tuple[Directive, ...]) -> list[Any]:
    return [(without_parentheses(list(d.words)), None if d.block is None else our_tree(d.block)) for d in directives]


def count(tree: list[Any]) -> int:
    return sum(1 + count(block or []) for _words, block in tree)


def without_parentheses(words: list[str]) -> list[str]:
    """crossplane takes the parentheses of an ``if`` away."""
    if words[0] == "if" and words[1].startswith("(") and words[-1].endswith(")"):
        words[1], words[-1] = words[1][1:], words[-1][:-1]
        return [words[0], *(w for i, w in enumerate(words[1:]) if w or 0 < i < len(words) - 2)]
    return words


def brief(route: Route) -> str:
    """``how location -> host:port``, with what is unusual about it after that."""
    return " ".join(
        [f"{route.location} -> {route.host}:{route.port}"]
        + ([] if route.how == "proxy_pass" else [route.how])
        + ([] if route.static_name else ["asked again"])
    )


@pytest.mark.parametrize("name", sorted(set(CORPUS) - set(REFUSED)))
def test_same_tree_as_crossplane(name: str, tmp_path: Path) -> None:
    ours = our_tree(parse(CORPUS[name]))
    assert ours == crossplane_tree(CORPUS[name], tmp_path)
    print(f"\nevidence: {name}: the same {count(ours)} directives")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_understood_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnreadableConfig) as refusal:
        routes_of(CORPUS[name])
    assert str(refusal.value).startswith(REFUSED[name])
    print(f"\nevidence: {name}: refused: {REFUSED[name]}")


ROUTES = {
    "plain": ["/ -> api:8000"],
    "stock_debian": ["/ -> web:8000"],
    "upstream_group": ["/ -> api:8000", "/ -> api-canary:8001", "/ -> api-spare:80"],
    "ssl_redirect": ["/ -> api:8000"],
    "http3_both_ports": ["/ -> api:8000"],
    "header_levels": ["/inherits/ -> a:1", "/resets/ -> b:2", "/resets/deeper/ -> c:3", "/ -> d:4"],
    "websockets": ["/ws/ -> channels:9000", "/ -> api:8000"],
    "resolver_variable": [
        "/ -> api:8000 asked again",
        "/uri/ -> celery-flower:5555 asked again",
        "/any/ -> http://$arg_target:80:0 asked again",
        "/address/ -> 10.0.0.7:81",
        "/both/ -> web:8000 asked again",
        "/both/ -> web:8000 asked again",
    ],
    "variable_group": ["/ -> api-green:8000", "/ -> api-blue:8000"],
    "resolve_parameter": ["/ -> api:8000 asked again", "/ -> static:80"],
    "unix_sockets": [
        "/ -> unix:/run/gunicorn.sock:0",
        "/direct/ -> unix:/run/other.sock:0",
        "/uwsgi/ -> unix:/run/uwsgi.sock:0 uwsgi_pass",
        "/php/ -> unix:/run/php/php-fpm.sock:0 fastcgi_pass",
    ],
    "uwsgi": ["/ -> app:8001 uwsgi_pass", "/two -> other:3031 uwsgi_pass"],
    "grpc": [
        "/shop.Tours/ -> tours:50051 grpc_pass",
        "/shop.Orders/ -> orders:443 grpc_pass",
        "/cache/ -> memcached:11211 memcached_pass",
        "@fallback -> api:8000",
    ],
    "odd_words": [
        "^/v[0-9]{1,2}/(?<rest>.*)$ -> api:8000",
        "^/a\\{2\\}/ -> braces:1",
        "/with space/ -> spaces:2",
        "/plain -> quoted:3",
    ],
    "conditions": ["/ -> writer:8000", "/ -> beta:8000", "/ -> guarded:8000", "/ -> reader:8000"],
    "behind_balancer": ["/ -> api:443", "/ -> admin:8001"],
    "ipv6": [
        "/ -> [fd00::10]:8000",
        "/ -> [fd00::11]:80",
        "/ -> 10.0.0.3:8002",
        "/one -> [fd00::12]:8443",
        "/ -> [fd00::13]:80",
    ],
    "default_ports": ["/a -> api:80", "/b -> api:443", "/c -> api:80", "/d -> api:80", "/e -> api:443", "/f -> api:80"],
    "stream_and_mail": ["/ -> api:8000"],
    "mirror_auth": ["/ -> api:8000", "/auth -> auth:9000", "/mirror -> shadow:8000 asked again"],
}


def test_every_corpus_file_has_its_expectation() -> None:
    assert set(CORPUS) == set(ROUTES) | set(REFUSED)


@pytest.mark.parametrize("name", sorted(ROUTES))
def test_routes(name: str) -> None:
    assert [brief(r) for r in routes_of(CORPUS[name])] == ROUTES[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", (80, False, "shop.example.org", False)),
        ("stock_debian", (80, False, "", False)),
        ("upstream_group", (8080, False, "www.shop.org", False)),
        ("ssl_redirect", (443, True, "shop.org", False)),
        ("http3_both_ports", (443, True, "www.shop.org", False)),
        ("websockets", (8000, False, "ws.org", False)),
        ("behind_balancer", (8443, True, "lb.org", True)),
        ("ipv6", (8080, False, "six.org", False)),
        ("mirror_auth", (8088, False, "", False)),
    ],
)
def test_how_users_reach_it(name: str, expected: tuple[int, bool, str, bool]) -> None:
    route = routes_of(CORPUS[name])[0]
    assert (route.listen, route.tls, route.server_name, route.proxy_protocol) == expected


def test_of_several_listeners_one_that_a_plain_request_can_use() -> None:
    admin = routes_of(CORPUS["behind_balancer"])[1]
    assert (admin.listen, admin.proxy_protocol) == (9000, False)
    assert routes_of(CORPUS["ipv6"])[-1].listen == 80
    (quic,) = routes_of("http { server { listen 8443 quic; listen 81; location / { proxy_pass http://api; } } }")
    assert quic.listen == 81
    old = routes_of("http { server { listen 8443; ssl on; location / { proxy_pass http://api; } } }")[0]
    assert (old.listen, old.tls) == (8443, True)


@pytest.mark.parametrize(
    ("name", "location", "expected"),
    [
        ("plain", "/", {"Host": "api:8000"}),
        (
            "stock_debian",
            "/",
            {"Host": "localhost", "X-Real-IP": "127.0.0.1", "X-Forwarded-For": "127.0.0.1"},
        ),
        # The group's name, not the server's: that is what Django's ALLOWED_HOSTS gets to see.
        ("upstream_group", "/", {"Host": "django_app"}),
        ("ssl_redirect", "/", {"Host": "shop.org", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}),
        ("header_levels", "/inherits/", {"Host": "one.org", "X-Level": "http"}),
        ("header_levels", "/resets/", {"Host": "b:2", "X-Level": "location"}),
        ("header_levels", "/resets/deeper/", {"Host": "c:3", "X-Level": "location"}),
        ("header_levels", "/", {"Host": "d:4", "X-Level": "server"}),
        ("websockets", "/ws/", {"Host": "ws.org:8000"}),
        ("odd_words", "^/a\\{2\\}/", {"Host": "braces:1", "X-${scheme}-not": "a;b{c}#d"}),
        ("odd_words", "/with space/", {"Host": "spaces:2", "X-Words": "two words"}),
        ("conditions", "/", {"Host": "writer:8000", "X-Where": "location"}),
        ("behind_balancer", "/", {"Host": "api", "X-Forwarded-Proto": "https"}),
        ("default_ports", "/a", {"Host": "api"}),
        ("default_ports", "/b", {"Host": "api"}),
        ("default_ports", "/c", {"Host": "api:80"}),
        ("default_ports", "/d", {"Host": "group"}),
        ("default_ports", "/e", {"Host": "api:443"}),
        ("mirror_auth", "/auth", {"Host": "auth:9000"}),
    ],
)
def test_the_headers_nginx_would_send(name: str, location: str, expected: dict[str, str]) -> None:
    route = next(r for r in routes_of(CORPUS[name]) if r.location == location)
    assert request_headers(route) == expected


def test_curly_and_partly_known_variables_in_a_header() -> None:
    text = "http { server { location / { proxy_set_header host ${host}:$proxy_port; proxy_set_header X-Id $request_id;\
            proxy_set_header X-From a${scheme}b; proxy_pass http://api:8000; } } }"
    assert request_headers(routes_of(text)[0]) == {"Host": "localhost:8000", "X-From": "ahttpb"}


def test_a_name_with_a_port_is_no_group() -> None:
    text = "http { upstream api { server a:1; } server { location / { proxy_pass http://api:8000; } } }"
    assert [brief(r) for r in routes_of(text)] == ["/ -> api:8000"]


def test_a_suffix_after_the_name_is_no_route_to_the_name() -> None:
    dynamic = "http { upstream api { server a:1; } server { location / { proxy_pass http://api$suffix; } } }"
    assert [(r.host, r.static_name) for r in routes_of(dynamic)] == [("http://api$suffix", False)]
    same = dynamic.replace("$suffix", "${request_uri}")
    assert [(r.host, r.static_name) for r in routes_of(same)] == [("a", True)]


def test_a_variable_that_may_be_anything_is_refused() -> None:
    entries = "".join(f"k{i} host{i};" for i in range(600))
    with pytest.raises(UnreadableConfig, match="more than 500"):
        routes_of(f"http {{ map $a $b {{ {entries} }} server {{ location / {{ proxy_pass http://$b; }} }} }}")


def test_a_variable_that_is_made_of_itself_ends() -> None:
    text = "http { server { set $a $a/x; location / { proxy_pass http://$a; } } }"
    assert [r.static_name for r in routes_of(text)] == [False]


# -- what nginx -T prints --------------------------------------------------------------------------------


def test_includes_are_put_in_place_in_the_order_of_the_dump() -> None:
    text = "http { include conf.d/*.conf; include snippets/last; }"
    dump = (
        "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n"
        + dumped(text)
        + "# configuration file /etc/nginx/conf.d/a.conf:\nserver { include proxy.inc; }\n"
        + "# configuration file /etc/nginx/proxy.inc:\nlocation / { proxy_pass http://a:1; }\n"
        + "# configuration file /etc/nginx/conf.d/b.conf:\nserver { include /etc/nginx/proxy.inc; server_name b; }\n"
        + "# configuration file /etc/nginx/conf.d/deep/c.conf:\nserver { location / { proxy_pass http://never:1; } }\n"
        + "# configuration file /etc/nginx/snippets/last:\nserver { location / { proxy_pass http://z:9; } }\n"
    )
    assert [(r.host, r.server_name) for r in routes(load(dump))] == [("a", ""), ("a", "b"), ("z", "")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("sites/[!.]*", ["a", "b"]),
        ("sites/[ab]", ["a", "b"]),
        ("sites/[^a]", ["b"]),
        ("sites/?", ["a", "b"]),
        ("sites/a", ["a"]),
        ("/etc/nginx/sites/[b-z]", ["b"]),
        ("*/b", ["b"]),
        ("none/*", []),
    ],
)
def test_include_patterns_as_glob_reads_them(pattern: str, expected: list[str]) -> None:
    server = "server {{ location / {{ proxy_pass http://{}:1; }} }}"
    files = {f"__etc__nginx__sites__{n}": server.format(n) for n in "ab"}
    dump = dumped(f"http {{ include {pattern}; }}", **files)
    assert [r.host for r in routes(load(dump))] == expected


def test_a_file_that_the_dump_lacks_is_refused_and_no_dump_at_all_too() -> None:
    with pytest.raises(UnreadableConfig, match=r"include /etc/nginx/gone\.conf: nginx -T did not print that file"):
        routes_of("http { include gone.conf; }")
    with pytest.raises(UnreadableConfig, match="printed no configuration file"):
        load("nginx: [emerg] something\n")


def test_only_line_feeds_separate_lines_of_a_dump() -> None:
    assert split_dump("# configuration file /a:\nx \u2028\x0c\x85y;\n") == {"/a": "x \u2028\x0c\x85y;\n\n"}


def test_only_what_nginx_takes_for_white_space_separates_words() -> None:
    assert parse("return 200 a\u00a0b;")[0].words == ("return", "200", "a\u00a0b")


def test_a_closing_brace_in_a_bare_word_is_part_of_it() -> None:
    # As nginx reads it; crossplane ends the word there.
    assert parse("map $a $b { ~^a\\{2}$ c; }")[0].block == (Directive(("~^a\\{2}$", "c")),)


# -- generated configurations ----------------------------------------------------------------------------

NAMES = st.sampled_from(["server", "location", "set", "proxy_pass", "add_header", "return", "x-y", "~^/a+", "=404"])
# crossplane ends bare words at a closing brace and reads other white space: what both agree on is generated.
LETTERS = st.characters(codec="ascii", min_codepoint=33, max_codepoint=126)
TEXTS = st.text(st.one_of(LETTERS, st.sampled_from(" \t\n${}'\"#;é")), max_size=12).filter(
    lambda t: not t.endswith("\\")
)
BARE = set(" \t\n{};\\'\"#$")


def directives(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(NAMES, st.lists(TEXTS, max_size=3), st.one_of(st.none(), children)), max_size=4)


TREES = st.recursive(st.just([]), directives, max_leaves=12)
GAPS = st.sampled_from([" ", "  ", "\n", "\t ", " # a { comment; \"with 'quotes\n", "\r\n"])


@st.composite
def written(draw: st.DrawFn, tree: list[Any]) -> str:
    text = ""
    for name, args, block in tree:
        text += draw(GAPS) + name
        for arg in args:
            text += draw(GAPS) + draw(word(arg))
        if block is None:
            text += draw(st.sampled_from(["", " "])) + ";"
        else:
            text += draw(st.sampled_from(["", " ", "\n"])) + "{" + draw(written(block)) + draw(GAPS) + "}"
    return text


@st.composite
def word(draw: st.DrawFn, text: str) -> str:
    bare = bool(text) and not BARE & set(text)
    if bare and draw(st.booleans()):
        return text
    quote = draw(st.sampled_from("\"'"))
    # Backslashes are doubled always: whether a single one survives depends on what follows it.
    return quote + text.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


def words_and_blocks(tree: list[Any]) -> list[Any]:
    return [([name, *args], None if block is None else words_and_blocks(block)) for name, args, block in tree]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), tree=directives(TREES))
def test_a_written_tree_is_read_back_as_crossplane_does(
    data: st.DataObject, tree: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = data.draw(written(tree)) + "\n"
    assert our_tree(parse(text)) == words_and_blocks(tree)
    assert crossplane_tree(text, tmp_path_factory.getbasetemp()) == words_and_blocks(tree)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab {};\"'\\$#\n~"), max_size=40))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        routes_of(text)
    except UnreadableConfig as refusal:
        assert str(refusal)


@pytest.mark.parametrize(
    ("outer", "server", "inner", "expected"),
    [
        ("", "", "", 60.0),
        ("proxy_connect_timeout 5s;", "", "", 5.0),
        ("proxy_connect_timeout 5s;", "proxy_connect_timeout 1m 30s;", "", 90.0),
        ("proxy_connect_timeout 5s;", "", "proxy_connect_timeout 500ms;", 0.5),
        ("", "", "proxy_connect_timeout soon;", 0.0),
    ],
)
def test_for_how_long_nginx_tries_to_connect_is_what_the_innermost_block_says(
    outer: str, server: str, inner: str, expected: float
) -> None:
    text = f"http {{ {outer} server {{ {server} location / {{ {inner} proxy_pass http://api:8000; }} }} }}"
    (route,) = routes(parse(text))
    assert route.patience == expected


@pytest.mark.parametrize(
    ("name", "url", "host"),
    [
        ("_", "https://shop.example/health/", "shop.example"),
        ("_", "http://[::1]:8080/health/", "::1"),
        ("_", "", "localhost"),
        ("own.example", "http://127.0.0.1/health/", "own.example"),
    ],
)
def test_a_server_block_for_every_name_is_asked_by_that_of_its_users(name: str, url: str, host: str) -> None:
    text = f"http {{ server {{ server_name {name}; location / {{ proxy_pass http://a; proxy_set_header Host $host; }} }} }}"
    assert request_headers(named(routes_of(text), url)[0])["Host"] == host


@pytest.mark.parametrize(
    "files",
    [
        {"/etc/nginx/nginx.conf": f"events {{}} http {{ upstream a {{ server api:{'9' * 5000}; }} }}"},
        {"/etc/nginx/nginx.conf": "http { upstream a { server api:80; keepalive ²; } }"},
        {"/etc/nginx/nginx.conf": f"http {{ upstream a {{ server api:80; keepalive {'9' * 5000}; }} }}"},
        {
            "/etc/nginx/nginx.conf": f"http {{ server {{ listen {'9' * 5000}; location / {{ proxy_pass http://api:{'9' * 5000}; }} }} }}"
        },
        {"/etc/nginx/nginx.conf": "include x/[z-a]*;"},
        {"/etc/nginx/nginx.conf": f"include {'*a' * 40}b;", f"/etc/nginx/{'a' * 4000}": ""},
        {f"/etc/nginx/{n or 'nginx.conf'}": f"include {n + 1}; " * 2 for n in range(20)},
        {"/etc/nginx/nginx.conf": "a {" * 100_000},
        {"/etc/nginx/nginx.conf": "x" * 20_000_000},
    ],
    ids=["port", "digit", "number", "listen", "class", "wildcards", "includes", "depth", "length"],
)
def test_what_a_forged_nginx_prints_is_read_or_refused_in_few_words(files: dict[str, str]) -> None:
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in files.items())
    try:
        assert len(list(routes(load(dump)))) < 10
    except UnreadableConfig as error:
        assert len(str(error)) <= 300
