# SPDX-License-Identifier: GPL-3.0-or-later
"""The server of a rehearsal in the place of a database that is no service: by its names, its port, and what cannot be a name."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.definition import names_in
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres import substitute_database
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.substitute_database import SERVICE, Place
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal import rehearsal

HOST = "db-1.provider.example.com"


def project(**environment: Any) -> dict[str, Any]:
    api = {"image": "shop-api", "environment": environment, "networks": {"default": None}}
    return {"name": "shop", "services": {"api": api}, "networks": {"default": {"name": "shop_default"}}}


def told(place: Place, **environment: Any) -> dict[str, Any]:
    made = substitute_database.with_substitute(project(**environment), place, "postgres:17")
    return dict(made["services"]["api"]["environment"])


def test_a_name_is_the_stand_ins_and_nothing_else_changes() -> None:
    place, given = Place(HOST, "25060"), {"DATABASE_URL": f"postgres://u:p@{HOST}:25060/shop", "X": None}
    made = substitute_database.with_substitute(project(**given), place, "postgres:17")
    assert names_in(made, "api", SERVICE) == [SERVICE, HOST]
    assert made["services"]["api"]["environment"] == given
    assert names_in(substitute_database.with_substitute(project(), Place("a.example.com,b.example.com"), "x"), "api", SERVICE)[1:] == [
        "a.example.com", "b.example.com",
    ]  # fmt: skip
    # Nobody said where: nothing that is empty is it.
    assert told(Place(), DB_HOST="") == {"DB_HOST": ""}


@pytest.mark.parametrize("address", ["10.0.0.5", "127.0.0.1", "localhost", "::1", "2001:db8::5", "/var/run/postgresql"])
def test_an_address_is_another_word_in_the_databases_variables_alone(address: str) -> None:
    theirs = ("DB_HOST", "PGHOST", "DJANGO_DATABASE_HOST", "RDS_HOSTNAME")
    given = dict.fromkeys((*theirs, "EMAIL_HOST", "HOST"), address)
    assert told(Place(address), **given) == {**given, **dict.fromkeys(theirs, SERVICE)}
    assert names_in(substitute_database.with_substitute(project(), Place(address), "x"), "api", SERVICE) == [SERVICE]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DATABASE_URL", "postgres://u:p@10.0.0.5:5433/shop?x=1", f"postgres://u:p@{SERVICE}:5433/shop?x=1"),
        ("MAIN", "postgis://10.0.0.5/shop", f"postgis://{SERVICE}/shop"),
        ("CACHE_URL", "redis://10.0.0.5/0", "redis://10.0.0.5/0"),
        ("DATABASE_URL", "postgres://u@10.0.0.50/shop", "postgres://u@10.0.0.50/shop"),
        ("DATABASE_URL", "postgres://u:a@10.0.0.5@other/shop", "postgres://u:a@10.0.0.5@other/shop"),
    ],
)
def test_an_address_in_an_address(name: str, value: str, expected: str) -> None:
    assert told(Place("10.0.0.5"), **{name: value}) == {name: expected}


def test_a_socket_and_ipv6_in_an_address() -> None:
    assert told(Place("/run/pg"), DATABASE_URL="postgres://%2Frun%2Fpg/shop") == {
        "DATABASE_URL": f"postgres://{SERVICE}/shop"
    }
    assert told(Place("::1"), DATABASE_URL="postgres://[::1]:5432/shop") == {
        "DATABASE_URL": f"postgres://{SERVICE}:5432/shop"
    }


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([Place(HOST)], ""),
        ([Place(HOST, "5432"), Place(HOST)], ""),
        ([Place("a,b", "25060,25060")], ""),
        ([Place(HOST), Place("other")], "on different servers"),
        ([Place("a,b", "5432,5433")], "the ports 5432, 5433"),
        ([Place(HOST, "$(reboot)")], "listens at one"),
    ],
)
def test_one_server_stands_in(places: list[Place], said: str) -> None:
    found = substitute_database.problem_with(places)
    assert said in found and bool(said) == bool(found)


def test_a_rehearsal_of_it_has_its_name_and_port_and_the_app_may_know_its_address() -> None:
    given = project(DATABASE_URL=f"postgres://shop:real-secret@{HOST}:25060/shop?sslmode=require")
    made = substitute_database.with_substitute(given, Place(HOST, "25060"), "postgres:17")
    database = rehearsal.Database(SERVICE, substitute_database.SUPERUSER, ("autovacuum=off",), port="25060")
    images: dict[str, tuple[str, dict[str, str]]] = {"api": ("shop-api", {}), SERVICE: ("sha256:1", {})}
    found, withheld = rehearsal.rehearsal_project(
        made, ["api"], [], database, images, "shop-rehearsal-1", "/src", rehearsal.Limits(2**29)
    )
    assert withheld == []
    server = found["services"][SERVICE]
    assert HOST in server["networks"]["scratch"]["aliases"] and server["environment"]["PGPORT"] == "25060"
    assert (
        server["image"] == "sha256:1"
        and server["mem_limit"] == 2**29
        and server["environment"]["POSTGRES_USER"] == substitute_database.SUPERUSER
    )
    url = found["services"]["api"]["environment"]["DATABASE_URL"]
    assert url == f"postgres://shop:{rehearsal.PLACEHOLDER}@{HOST}:25060/shop?sslmode=prefer"
    assert "shop_default" not in str(found) and "real-secret" not in str(found)
