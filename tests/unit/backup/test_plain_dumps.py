# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a plain dump before psql reads a byte of it."""

from __future__ import annotations

import io

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.backup import plain_dumps as decide

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


def verdict(*parts: bytes, server: int = 17, restricted: bool = True) -> str:
    # Where a line ends for psql: at nothing but a line feed.
    return decide.of(io.BytesIO(b"".join(parts))).verdict(server, restricted)


def test_a_whole_one_is_good_and_its_rows_are_counted() -> None:
    dump = decide.of((HEAD + BODY + TAIL).splitlines(keepends=True))
    assert dump.verdict(17, True) == ""
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
    assert "is truncated" in verdict(HEAD, BODY, TAIL, b"REVOKE ALL ON t FROM x;\n")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (b"\\connect shop\n", "the command \\connect of psql in it: it is of more than one database"),
        (b"SELECT 1 \\! touch /tmp/x\n", "the command \\! of psql"),
        (b"SELECT $a$ \\! $a$ \\! id\n", "the command \\! of psql"),
        (b"\\restrict abcDEF123\n", "the command \\restrict of psql"),
        (b"\\unrestrict abcDEF123\n", "the command \\unrestrict of psql"),
        (b"CREATE DATABASE shop TEMPLATE template0;\n", "made with --create"),
        (b"drop database shop;\n", "made with --create"),
        (b"CREATE ROLE shop;\n", "of a whole server"),
        (b"-- PostgreSQL database cluster dump\n", "pg_dumpall"),
        (b"DROP TABLE public.orders;\n", "made with --clean"),
        (b"ALTER TABLE ONLY public.orders DROP CONSTRAINT c;\n", "made with --clean"),
        (b"SET standard_conforming_strings = off;\n", "standard_conforming_strings off"),
        (b"SET a = 1;\r\n", "docker exec -t"),
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


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (b"COPY (SELECT 1) TO STDOUT (NULL ')FROM stdin');\n\\! id\n\\.\n", "COPY that pg_dump does not write"),
        (b"DO $d$ BEGIN PERFORM set_config('standard_conforming'||'_strings','off',false); END $d$;\n", "write: DO"),
        (b"SET x = 1$a$'$a$ \\! id\n;SET y = ';'\n", "a number that runs into what follows it"),
        (b"COPY public.orders FROM PROGRAM 'id';\n", "COPY that pg_dump does not write"),
        (b"COPY public.orders TO PROGRAM 'id';\n", "COPY that pg_dump does not write"),
        (b"copy/**/public.orders from '/etc/passwd';\n", "COPY that pg_dump does not write"),
        (b"COPY public.orders FROM stdin WITH (FORMAT binary);\n\\.\n", "COPY that pg_dump does not write"),
        (
            b"COPY public.orders FROM stdin; COPY public.b FROM stdin;\n\\.\n\\! id\n\\.\n",
            "behind COPY on the same line",
        ),
        (b"COPY public.orders FROM stdin; SET a = '\n\\.\n';\n", "behind COPY on the same line"),
        # psql takes this for the end of the rows.
        (b"COPY public.orders FROM stdin;\n\\.\r\n\\! id\n\\.\n", "docker exec -t"),
        # psql loses the end of a line with NUL, and so the end of the rows.
        (b"COPY public.orders FROM stdin;\na\0\n\\.\nSET a = '\n\\.\n\\! id\n';\n", "NUL"),
        # In parentheses no semicolon ends a statement, and so no rows begin.
        (b"CREATE TABLE x (a int; COPY public.orders FROM stdin;\n\\! id\n\\.\n", "the command \\! of psql"),
        # The same in a routine of standard SQL.
        (b"CREATE FUNCTION f() BEGIN ATOMIC; COPY public.orders FROM stdin;\n\\! id\n\\.\n", "the command \\! of psql"),
        (b"CREATE u&'' FUNCTION f() BEGIN; COPY public.orders FROM stdin;\n\\! id\n\\.\n", "the command \\! of psql"),
        # A comment ends at a carriage return.
        (b"-- all is well\r\\! id\n", "a carriage return outside"),
        (b"COMMENT ON TABLE t IS E'a'\r'\\' \\! id\n';\n", "a carriage return outside of a string"),
        (b"COMMENT ON TABLE t IS E'a''\\'' \\! id\n';\n", "the command \\! of psql"),
        (b"COMMENT ON TABLE t IS $e'\\'' \\! id\n';\n", "a $ that begins no string"),
        (b"COMMENT ON TABLE t IS :e'\\' \\! id\n';\n", "the command \\! of psql"),
        (b"COMMENT ON TABLE t IS :USER;\n", "a variable of psql"),
        (b"SET client_encoding = 'SJIS';\n", "a quote can be a part of a letter"),
        (b"SET NAMES 'SJIS';\n", "SET that pg_dump does not write"),
        (b'SET "standard_conforming_strings" = off;\n', "SET that pg_dump does not write"),
        (b"SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false);\n", "SELECT that pg_dump"),
        (b"SELECT pg_catalog.setval('a', 1, true), pg_catalog.lo_import('/etc/passwd');\n", "SELECT that pg_dump"),
        (b"SELECT pg_catalog.lo_export(1, '/x');\n", "SELECT that pg_dump"),
        (b"CALL evil();\n", "pg_dump does not write: CALL"),
        (b"LOAD 'evil';\n", "pg_dump does not write: LOAD"),
        (b"COMMIT;\nALTER SYSTEM SET archive_command = 'id';\n", "ALTER SYSTEM"),
        (b"ALTER DATABASE shop SET x = 1;\n", "made with --create"),
    ],
)
def test_who_hides_a_command_where_psql_sees_one_is_refused(more: bytes, said: str) -> None:
    assert said in verdict(HEAD, more, BODY, TAIL)


def test_a_string_that_may_end_elsewhere_needs_a_psql_that_can_be_restricted() -> None:
    more = b"COMMENT ON TABLE public.orders IS 'C:\\';\n"
    assert verdict(HEAD, more, BODY, TAIL) == ""
    assert "13.22, 14.19, 15.14, 16.10, 17.6" in verdict(HEAD, more, BODY, TAIL, restricted=False)
    assert verdict(HEAD, b"COMMENT ON TABLE public.orders IS 'C:\\\\ and \\d';\n", BODY, TAIL, restricted=False) == ""


def test_of_the_pair_that_pg_dump_writes_the_places_are_known() -> None:
    whole = HEAD + BODY + TAIL
    dump = decide.of(io.BytesIO(whole))
    assert dump.verdict(17, True) == ""
    assert dump.restricts == [whole.index(b"\\restrict"), whole.index(b"\\unrestrict")]
    assert "\\unrestrict" in verdict(HEAD, BODY, TAIL.replace(b"abcDEF123", b"another"))
    assert "\\unrestrict" in verdict(HEAD, BODY, TAIL, b"\\unrestrict abcDEF123\n")
    assert (
        verdict(HEAD.replace(b"\\restrict abcDEF123\n", b""), BODY, TAIL.replace(b"\\unrestrict abcDEF123\n", b""))
        == ""
    )


def test_what_pg_dump_writes_rarely_is_not_refused() -> None:
    more = b"""\
SET client_encoding = 'EUC_JIS_2004';
SET SESSION AUTHORIZATION 'shop';
SET default_tablespace = '';
SELECT pg_catalog.setval('public."it''s"', 12, true);
BEGIN;
SELECT pg_catalog.lo_create('16411');
SELECT pg_catalog.lo_open('16411', 131072);
SELECT pg_catalog.lowrite(0, '\\x6162');
SELECT pg_catalog.lo_close(0);
COMMIT;
SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '16411';
SELECT * FROM pg_catalog.pg_restore_attribute_stats(
\t'version', '180000'::integer,
\t'histogram_bounds', E'{"a\\'b",c}'::text
);
INSERT INTO public.b (n, "it's") VALUES
\t(-1.5e+20, E'a\\'b'),
\t('(', ') -- ; \\! no' || chr(1)), (DEFAULT, '{"a": "b''c"}');
INSERT INTO public.b VALUES (2, 'several
lines (; of\r
it');
CREATE RULE r AS ON INSERT TO public.v DO INSTEAD ( INSERT INTO public.b (n) VALUES (new.n); UPDATE public.b SET n = 1; );
CREATE FUNCTION public.g(a integer) RETURNS integer LANGUAGE sql
    BEGIN ATOMIC
 SELECT CASE WHEN (g.a > 1) THEN 1 ELSE (ARRAY[1, 2])[1:2] END AS "case";
 SELECT 2;
END;
SECURITY LABEL FOR x ON TABLE public.b IS 'y';
"""
    dump = decide.of(io.BytesIO(HEAD + more + BODY + TAIL))
    assert dump.verdict(17, True) == ""
    assert dump.inserted == {"public.b"} and dump.tables == 2
