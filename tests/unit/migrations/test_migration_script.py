# SPDX-License-Identifier: GPL-3.0-or-later
"""What the script in the app's container tells, as far as it can be known without Django; the rest is a bed's."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.django.host.oneoff import OneOff
from ansible_collections.evenkeel.deploy.plugins.module_utils.django.inside import deployment_checks
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import app_script
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host import migrate
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.inside import (
    catalogue,
    checks_and_plan,
    schema,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.inside.operations import without_values


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("ALTER TABLE \"a\" ADD COLUMN \"b\" varchar(50) DEFAULT 'it''s secret' NOT NULL",
         "ALTER TABLE \"a\" ADD COLUMN \"b\" varchar(50) DEFAULT '…' NOT NULL"),
        ("DEFAULT E'a\\\\\\'b' NULL", "DEFAULT '…' NULL"),
        ("\"pin\" numeric(8, 2) DEFAULT -4711.5", "\"pin\" numeric(8, 2) DEFAULT …"),
        ("CHECK (\"pin2\" IN (4711, 4712))", "CHECK (\"pin2\" IN (…, …))"),
        ("ADD CONSTRAINT \"shop_item_c85f6249_uniq\" UNIQUE (\"2fa\")",
         "ADD CONSTRAINT \"shop_item_c85f6249_uniq\" UNIQUE (\"2fa\")"),
    ],
)  # fmt: skip
def test_statements_are_told_without_values(sql: str, told: str) -> None:
    assert without_values(sql) == told


def test_digests_name_equal_values_alike_in_one_process_only() -> None:
    digest = schema.digest
    assert digest("a") == digest("a") != digest("b")
    text = app_script.as_text([schema], [])
    tried = text.split("\nmodule.main", maxsplit=1)[0] + "\nprint(module.digest('a'))"
    printed = subprocess.run([sys.executable, "-c", tried], capture_output=True, text=True, check=True).stdout
    assert printed.strip() != digest("a")


@pytest.mark.parametrize(
    ("modules", "arguments"),
    [
        (migrate.MODULES, [[], True, 1, ""]),
        ((*migrate.MODULES, deployment_checks, checks_and_plan), [["deploy"], [[], True, 1, ""]]),
        (migrate.TALK, [[], True, 1, ""]),
        ((*migrate.TALK, deployment_checks, checks_and_plan), [["deploy"], [[], True, 1, ""], True]),
    ],
    ids=["plan", "checks and plan", "talk", "checks and talk"],
)
def test_modules_sent_as_text_import_one_another(modules: tuple[ModuleType, ...], arguments: list[Any]) -> None:
    script = app_script.as_text(modules, arguments)
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=False)
    # All of them were found; what they miss here is Django.
    assert done.stderr.strip().endswith("No module named 'django'")
    # One argument of a command line holds 128 KiB.
    assert len(script) < 100_000


def test_what_an_app_prints_is_no_answer() -> None:
    assert app_script.answer_in("EVENKEEL is a fine name\n") is None
    assert app_script.answer_in('hello\nEVENKEEL {"a": 1}\nbye') == {"a": 1}


def test_the_catalogue_is_searched_only_where_it_is_cheap() -> None:
    known = {"columns": {"a": {}}, "nulls": {}, "bytes": catalogue.TOO_DEAR + 1, "duplicates": {}}

    class Connection:
        class ops:
            quote_name = staticmethod(lambda name: f'"{name}"')

    catalogue.look_for_nulls(Connection, "item", known, "a")
    catalogue.look_for_duplicates(Connection, "item", known, ["a"])
    assert known["nulls"] == {"a": None} and known["duplicates"] == {"a": None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('exec: "sh": executable file not found in $PATH', "has no shell"),
        ("no python here", "has no python"),
        ("python: can't open file '/app/manage.py': [Errno 2] No such file or directory", "no manage.py in the image"),
        ("ModuleNotFoundError: No module named 'django'", "has no Django"),
        ("docker compose run did not end in 5 s", "took longer than 5 s"),
        ("KeyError: 'SECRET'", "could not be asked for its migrations: KeyError: 'SECRET'"),
    ],
)
def test_last_words_and_what_they_mean(words: str, said: str) -> None:
    asked = OneOff(None, None, "shop", "api", "manage.py", 5.0)  # type: ignore[arg-type]
    assert said in asked.meaning(words).message()
