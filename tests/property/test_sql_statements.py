# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements are told apart whatever hides a semicolon, and nothing that is written gets lost or joins another."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.database import Refused, changes_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.sql_statements import Unreadable, split, tokens_of

# Everything that could be taken for the end of something.
HOSTILE = st.text(alphabet=";'\"$\\/*-ab \n(){}é", max_size=25)
TAG = st.sampled_from(["", "a", "tag", "b_1", "é"])


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def escaped(text: str) -> str:
    # Something behind it: a string in the next line would go on with escapes.
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "' ||"


def named(text: str) -> str:
    return '"' + (text.replace('"', '""') or "x") + '"'


@st.composite
def dollars(draw: st.DrawFn) -> str:
    tag = f"${draw(TAG)}$"
    text = draw(HOSTILE).replace(tag, "")
    # What stands before the end must not be a part of it.
    return f"{tag}{text.rstrip('$')} {tag}" if tag not in f"{text.rstrip('$')} " else f"{tag} {tag}"


@st.composite
def comments(draw: st.DrawFn) -> str:
    inner = draw(HOSTILE).replace("/*", "").replace("*/", "").strip("/*")
    deep = draw(st.integers(1, 3))
    line = draw(HOSTILE).replace("\n", "")
    return draw(st.sampled_from([f"--{line}\n", f"/* {' /* '.join([inner] * deep)} {'*/ ' * deep}"]))


WORDS = st.sampled_from(
    [
        "select",
        "a.b",
        "1.5e-3",
        "x$y$z",
        "$1",
        "foo(a, b)",
        "::text",
        "U&'d\\0061t'",
        "B'01'",
        "case when a then b end",
        "begin",
    ]
)
PIECES = st.one_of(WORDS, HOSTILE.map(quoted), HOSTILE.map(escaped), HOSTILE.map(named), dollars(), comments())
SPACE = st.one_of(st.sampled_from([" ", "\n", "\t \n"]), comments())


@st.composite
def statements(draw: st.DrawFn) -> str:
    pieces = ["word", *draw(st.lists(PIECES, max_size=6))]
    # A space on both sides: what touches may be one thing.
    return "".join(f"{piece} {draw(SPACE)} " for piece in pieces)


@given(st.lists(statements(), min_size=1, max_size=5), st.booleans())
def test_as_many_come_out_as_went_in(given_ones: list[str], ended: bool) -> None:
    text = ";\n".join(given_ones) + (";" if ended else "")
    found = split(text)
    assert len(found) == len(given_ones)
    at = 0
    for statement, one in zip(found, given_ones):
        assert statement.text in one and [t.text for t in statement.tokens] == [t.text for t in tokens_of(one)]
        assert statement.line == 1 + text.count("\n", 0, at)
        at += len(one) + len(";\n")


@given(statements(), dollars())
def test_a_body_is_one_statement_whatever_is_in_it(before: str, body: str) -> None:
    text = f"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS {body}; {before}"
    assert len(split(text)) == 2 and split(text)[0].text.endswith(body)


@given(
    st.lists(
        st.sampled_from(
            [
                "SELECT 1;",
                "SELECT CASE WHEN a THEN 1 ELSE CASE WHEN b THEN ';' END END;",
                "INSERT INTO t VALUES ($$;$$);",
            ]
        )
    )
)
def test_a_body_of_statements_is_one_statement(inner: list[str]) -> None:
    text = f"CREATE OR REPLACE FUNCTION f(begin int) RETURNS int BEGIN ATOMIC {' '.join(inner)} END; DROP VIEW v"
    found = changes_of(text)
    assert [str(c.named[0]) for c in found] == ["function f", "view v"]


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    try:
        found = split(text)
    except Unreadable as error:
        assert re.search(r"line \d+", str(error))
    else:
        assert "".join(s.text for s in found).count(";") <= text.count(";")
        assert all(s.tokens and s.text in text for s in found)


@given(st.text(max_size=60))
def test_any_text_is_a_hotfix_or_refused_with_what_to_do(text: str) -> None:
    try:
        changes = changes_of(text)
    except Refused as error:
        assert str(error) and error.advice
    else:
        assert all(c.named for c in changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 'a' ; -- b ; c\n SELECT 2", ["SELECT 'a'", "SELECT 2"]),
        ("a -- x\r; b", ["a", "b"]),
        ("SELECT E'it\\'s; -- '; b", ["SELECT E'it\\'s; -- '", "b"]),
        ("SELECT 'it\\'; b", ["SELECT 'it\\'", "b"]),
        # A string that goes on in the next line keeps its escapes.
        ("SELECT E'a'\n'\\'; b'; c", ["SELECT E'a'\n'\\'; b'", "c"]),
        ("SELECT E'a' -- x\n'\\'; b'; c", ["SELECT E'a' -- x\n'\\'; b'", "c"]),
        ("SELECT 'a' '\\'; b", ["SELECT 'a' '\\'", "b"]),
        ("SELECT a$b$; c$b$", ["SELECT a$b$", "c$b$"]),
        ("SELECT $b$; c$b$", ["SELECT $b$; c$b$"]),
        ("SELECT $1; $2$ ; $3", ["SELECT $1", "$2$", "$3"]),
        ("/* a /* b; */ ; */ c; d", ["c", "d"]),
        ("\ufeffa;;  ;b", ["a", "b"]),
        ("CREATE RULE r AS ON INSERT TO t DO (a; b); c", ["CREATE RULE r AS ON INSERT TO t DO (a; b)", "c"]),
    ],
)
def test_what_postgresql_reads_so(text: str, expected: list[str]) -> None:
    assert [s.text for s in split(text)] == expected


@pytest.mark.parametrize(
    "text", ["'a", '"a', "$a$ b", "/* /* */", "E'a\\'", "\\copy t from x", "a \\; b", "a\0b", 'U&"a"', "(a; b", "SELECT $é$ $e$",
             "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;"],
)  # fmt: skip
def test_what_is_never_closed_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="line 1"):
        split(text)
