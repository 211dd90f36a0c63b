# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a plain dump before psql reads a byte of it."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.decide import plain_dumps as decide

HEAD = b"""\
--
-- PostgreSQL database dump
--

\\restrict abcDEF123

-- Dumped from database version 16.4 (Debian)
-- Dumped by pg_dump version 17.1

SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
"""
BODY = b"""\
CREATE TABLE public.orders (id bigint, note text);
CREATE TABLE "odd ""name"."it's" (n int);
ALTER TABLE public.orders OWNER TO shop;
COPY public.orders (id, note) FROM stdin;
1\ta\\\\b ' " $$ ; -- no comment
2\t\\N
\\.

COPY "odd ""name"."it's" (n) FROM stdin;
\\.
CREATE FUNCTION public.f() RETURNS text LANGUAGE plpgsql AS $_$
BEGIN RETURN '\\connect ; CREATE DATABASE x;'; END $_$;
COMMENT ON TABLE public.orders IS 'it''s \\! all right;
-- PostgreSQL database dump complete';
ALTER TABLE public.orders ADD CONSTRAINT c CHECK (note ~ E'\\\\d\\'+');
/* a \\! comment /* in another */ ; */
"""
TAIL = b"""\
--
-- PostgreSQL database dump complete
--

\\unrestrict abcDEF123

"""


def verdict(*parts: bytes, server: int = 17) -> str:
    return decide.of(b"".join(parts).splitlines(keepends=True)).verdict(server)


def test_a_whole_one_is_good_and_its_rows_are_counted() -> None:
    dump = decide.of((HEAD + BODY + TAIL).splitlines(keepends=True))
    assert dump.verdict(17) == ""
    assert dump.rows == {"public.orders": 2, "odd \"name.it's": 0}
    assert (dump.version, dump.tables) == (16, 2)
    rows = {"public.orders": 2, "odd \"name.it's": 0, "public.more": 7}
    assert decide.differences(dump, {"rows": rows}) == []
    assert decide.differences(dump, {"rows": {"public.orders": 1}}) == [
        "table odd \"name.it's is missing",
        "public.orders has 1 rows instead of 2",
    ]


def test_at_whatever_line_it_ends_it_is_truncated() -> None:
    lines = (HEAD + BODY).splitlines(keepends=True)
    for end in range(2, len(lines)):
        assert "is truncated" in verdict(*lines[:end]), end
    # What comes after the last line is something else.
    assert "is truncated" in verdict(HEAD, BODY, TAIL, b"SELECT 1;\n")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (b"\\connect shop\n", "the command \\connect of psql in it: it is of more than one database"),
        (b"SELECT 1 \\! touch /tmp/x\n", "the command \\! of psql"),
        (b"SELECT $a$ \\! $a$ \\! id\n", "the command \\! of psql"),
        (b"CREATE DATABASE shop TEMPLATE template0;\n", "made with --create"),
        (b"drop database shop;\n", "made with --create"),
        (b"CREATE ROLE shop;\n", "of a whole server"),
        (b"-- PostgreSQL database cluster dump\n", "pg_dumpall"),
        (b"DROP TABLE public.orders;\n", "made with --clean"),
        (b"ALTER TABLE ONLY public.orders DROP CONSTRAINT c;\n", "made with --clean"),
        (b"SET standard_conforming_strings = off;\n", "standard_conforming_strings off"),
        (b"SELECT 1;\r\n", "docker exec -t"),
        (b"S\0E\0L\0", "NUL"),
    ],
)
def test_what_would_lead_elsewhere_is_refused_by_name(more: bytes, said: str) -> None:
    assert said in verdict(HEAD, more, BODY, TAIL)


def test_what_is_harmless_is_not_refused() -> None:
    assert (
        verdict(
            HEAD,
            b"DROP TABLE IF EXISTS public.orders;\nALTER TABLE IF EXISTS public.o DROP CONSTRAINT c;\n",
            BODY,
            TAIL,
        )
        == ""
    )
    assert verdict(HEAD, BODY, b"ALTER TABLE public.orders DROP CONSTRAINT c;\n", TAIL) == ""


def test_one_of_a_newer_server_an_empty_one_and_one_of_something_else() -> None:
    assert "newer server (PostgreSQL 16) than the one here (15)" in verdict(HEAD, BODY, TAIL, server=15)
    assert "is empty: there is no table" in verdict(HEAD, TAIL)
    assert "is no plain dump of pg_dump" in verdict(b"-- MySQL dump 10.13\n", BODY)
    assert "0 bytes" in decide.wrong_with_start("a.sql", b"", 0)
    assert "custom format" in decide.wrong_with_start("a.sql", b"PGDMP\x01", 9)
    assert "not compressed" in decide.wrong_with_start("a.sql.gz", b"-- Post", 9)


def test_rows_longer_than_what_is_read_at_once_count_once() -> None:
    dump = decide.PlainDump()
    for line in (HEAD + b"COPY public.orders (note) FROM stdin;\n").splitlines(keepends=True):
        dump.read(line)
    assert dump.in_rows
    for piece in (b"x" * 70, b"\\.", b"y\n", b"\\.\n"):
        dump.read(piece)
    assert not dump.in_rows and dump.rows == {"public.orders": 1}
    # Rows that statements bring are not counted.
    dump.read(b"INSERT INTO public.orders VALUES ('a'), ('b');\n")
    assert decide.comparable(dump) == {}
