# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rehearsal is told of production's environment, what it is made of, and what it foretells."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.inside import session
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal import rehearsal, summary
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal.rehearsal import DUMMY_MAIL, PLACEHOLDER

HOSTS = {"db", "postgres", "redis"}
SECRETS = frozenset({"real-secret", "broker-secret"})


def told(allowed: tuple[str, ...] = (), image: dict[str, str] | None = None, **given: Any) -> dict[str, str]:
    values = dict(rehearsal.environment_of(given, image or {}, HOSTS, SECRETS, allowed).values)
    assert values.pop("EMAIL_BACKEND") == DUMMY_MAIL and values.pop("DJANGO_EMAIL_BACKEND") == DUMMY_MAIL
    return values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "0"),
        ("ALLOWED_HOSTS", "shop.example.com"),
        ("DJANGO_SETTINGS_MODULE", "shop.settings.production"),
        ("DATABASE_HOST", "db"),
        ("PGDATABASE", "shop"),
        ("RDS_HOSTNAME", "db-1.provider.example.com"),
        ("DJANGO_DB_PORT", "25060"),
        ("SHOP_DATABASE_USERNAME", "shop"),
        ("FEATURE_SUMMER", "true"),
        ("USE_API_KEY", "off"),
        ("CACHE_URL", "locmem://"),
        ("DATABASE_URL", "postgres://shop@db:5432/shop"),
        ("CELERY_BROKER_URL", "redis://redis:6379/0"),
        ("CSRF_TRUSTED_ORIGINS", "https://shop.example.com"),
        ("POSTGRES_PASSWORD_FILE", "/run/secrets/password"),
        ("EMPTY", ""),
    ],
)
def test_what_is_harmless_is_told(name: str, value: str) -> None:
    assert told(**{name: value}) == {name: value}


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "STRIPE_API_KEY",
        "DB_PASSWORD",
        "RDS_PASSWORD",
        "DJANGO_DB_PASSWORD",
        "AUTH_TOKEN",
        "AWS_CREDENTIALS",
        "SENTRY_DSN",
    ],
)
def test_a_secret_is_another_word(name: str) -> None:
    assert told(**{name: "whatever"}) == {name: PLACEHOLDER}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARTNER", "some-name"),
        ("PAYMENT_ENDPOINT", "https://pay.example.com/v1"),
        ("SENTRY_DSN", "https://key@sentry.example.com/1"),
        ("ELASTIC_URL", "http://search:9200"),
        ("DATABASE_URL", "postgres://shop:real-secret@db.elsewhere.example.com/shop"),
        ("REPLICA_URL", "postgres://shop:real-secret@10.0.0.4,db/shop"),
        ("SMTP_USER", "shop"),
        ("EMAIL_HOST_PASSWORD", "real-secret"),
        ("MAILGUN_API_KEY", "real-secret"),
    ],
)
def test_what_is_not_known_is_withheld_and_named(name: str, value: str) -> None:
    made = rehearsal.environment_of({name: value}, {}, HOSTS, SECRETS)
    assert name not in made.values and made.withheld == (name,)


def test_addresses_of_its_own_servers_are_told_without_the_password() -> None:
    assert told(DATABASE_URL="postgres://shop:real-secret@db:5432/shop?sslmode=disable") == {
        "DATABASE_URL": f"postgres://shop:{PLACEHOLDER}@db:5432/shop?sslmode=disable"
    }
    assert told(CELERY_BROKER_URL="redis://:broker-secret@redis/0") == {
        "CELERY_BROKER_URL": f"redis://:{PLACEHOLDER}@redis/0"
    }
    # A password may have what else ends an address' first part.
    assert told(DATABASE_URL="postgres://a:b@c@db/shop") == {"DATABASE_URL": f"postgres://a:{PLACEHOLDER}@db/shop"}


def test_its_database_is_not_asked_for_a_certificate() -> None:
    given = {"DATABASE_URL": "postgres://shop@db/shop?sslmode=verify-full&x=1", "DB_SSLMODE": "require"}
    assert told(**given) == {"DATABASE_URL": "postgres://shop@db/shop?sslmode=prefer&x=1", "DB_SSLMODE": "prefer"}


def test_mail_goes_nowhere() -> None:
    assert told(EMAIL_HOST="smtp.example.com", EMAIL_PORT="587", EMAIL_URL="smtp://u:p@h", APP_EMAIL_BACKEND="x.Y") == {
        "EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": "9", "EMAIL_URL": "dummymail://", "APP_EMAIL_BACKEND": DUMMY_MAIL,
    }  # fmt: skip
    made = rehearsal.environment_of({"EMAIL_BACKEND": "real.Backend"}, {}, HOSTS, SECRETS)
    assert made.values["EMAIL_BACKEND"] == DUMMY_MAIL


def test_what_people_let_in_is_told_as_it_is() -> None:
    given = {"PARTNER": "some-name", "FERNET_KEY": "real-secret", "FEATURE_A": "x", "FEATURE_B": "y", "OTHER": "z"}
    assert told(("PARTNER", "FERNET_KEY", "FEATURE_*"), **given) == {k: v for k, v in given.items() if k != "OTHER"}
    # By their own names alone.
    assert told(("PART",), PARTNER="some-name") == {}


def test_a_secret_of_another_variable_is_found_in_a_harmless_one() -> None:
    assert told(CELERY_OPTIONS="password=real-secret") == {"CELERY_OPTIONS": f"password={PLACEHOLDER}"}


def test_what_the_image_brings_along_is_no_way_in_either() -> None:
    image = {"PATH": "/bin", "API_TOKEN": "baked", "PARTNER": "baked", "APP_ENV": "production"}
    # Left alone the image's own value would be there.
    assert told(image=image) == {"API_TOKEN": PLACEHOLDER, "PARTNER": ""}
    assert told(image=image, PARTNER="real") == {"API_TOKEN": PLACEHOLDER, "PARTNER": ""}


PROJECT: dict[str, Any] = {
    "name": "shop",
    "services": {
        "api": {
            "image": "shop-api",
            "command": ["gunicorn", "--password", "broker-secret"],
            "environment": {
                "SECRET_KEY": "real-secret",
                "CELERY_BROKER_URL": "redis://:broker-secret@redis/0",
                "PARTNER": "x",
            },
            "ports": [{"target": 8000}],
            "networks": {"default": None},
            "secrets": [{"source": "pay", "target": "pay"}],
            "volumes": [
                {"type": "volume", "source": "media", "target": "/app/media"},
                {"type": "bind", "source": "/srv/uploads", "target": "/app/uploads"},
                {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"},
                {"type": "bind", "source": "/src", "target": "/app"},
            ],
        },
        "db": {
            "image": "postgres",
            "environment": {"POSTGRES_PASSWORD": "real-secret"},
            "volumes": [{"type": "volume", "source": "pgdata", "target": "/var/lib/postgresql/data"}],
            "mem_limit": "8g",
        },
        "redis": {"image": "redis", "command": "redis-server --requirepass broker-secret", "mem_limit": "64m"},
    },
    "networks": {"default": {"name": "shop_default"}},
    "volumes": {"media": {"name": "shop_media"}, "pgdata": {"name": "shop_pgdata"}},
    "secrets": {"pay": {"file": "/srv/pay"}},
}


def made(**more: Any) -> tuple[dict[str, Any], list[str]]:
    database = rehearsal.Database("db", "sho$p", ("autovacuum=off",))
    images = {"api": ("shop-api", {}), "db": ("sha256:1", {}), "redis": ("redis", {})}
    limits = rehearsal.Limits(2**29, 10**6, "/dev/vda")
    return rehearsal.rehearsal_project(
        PROJECT,
        ["api"],
        ["redis"],
        database,
        images,
        "shop-rehearsal-1",
        "/src",
        limits,
        folders={"/srv/uploads"},
        **more,
    )


def test_nothing_of_production_is_in_it() -> None:
    project, withheld = made()
    text = json.dumps(project)
    for word in (*SECRETS, "docker.sock", "shop_default", "shop_media", "pgdata", "/srv/"):
        assert word not in text
    assert withheld == ["PARTNER"]
    assert project["networks"]["scratch"]["internal"] is True
    assert list(project["networks"]) == ["scratch"]
    for service in project["services"].values():
        assert set(service["networks"]) == {"scratch"} and "ports" not in service


def test_who_shared_a_secret_still_does() -> None:
    services = made()[0]["services"]
    assert services["redis"]["command"] == f"redis-server --requirepass {PLACEHOLDER}"
    assert services["api"]["environment"]["CELERY_BROKER_URL"] == f"redis://:{PLACEHOLDER}@redis/0"
    (secret,) = services["api"]["configs"]
    assert secret["target"] == "/run/secrets/pay"
    assert made()[0]["configs"]["rehearsal"] == {"content": PLACEHOLDER}


def test_the_app_is_started_as_it_is_and_its_data_is_empty() -> None:
    project, _withheld = made()
    api = project["services"]["api"]
    assert api["command"] == ["gunicorn", "--password", PLACEHOLDER] and "entrypoint" not in api
    assert {v["target"]: (v["type"], v.get("read_only", False)) for v in api["volumes"]} == {
        "/app": ("bind", True), "/app/media": ("volume", False), "/app/uploads": ("volume", False),
    }  # fmt: skip
    labels = {json.dumps(v["labels"]) for v in project["volumes"].values()}
    assert labels == {json.dumps({"evenkeel.scratch": "shop"})}
    assert {v["name"] for v in project["volumes"].values()} == {
        "shop-rehearsal-1-media",
        "shop-rehearsal-1-srv-uploads",
    }


def test_everything_has_limits_and_the_database_takes_anybody() -> None:
    services = made()[0]["services"]
    assert (services["api"]["mem_limit"], services["redis"]["mem_limit"], services["db"]["mem_limit"]) == (
        2**29,
        "64m",
        2**29,
    )
    for service in services.values():
        assert service["pids_limit"] and service["cpu_shares"] < 1024
        assert service["blkio_config"]["device_write_bps"] == [{"path": "/dev/vda", "rate": 10**6}]
    database = services["db"]
    assert database["image"] == "sha256:1" and "volumes" not in database
    assert database["environment"]["POSTGRES_HOST_AUTH_METHOD"] == "trust"
    assert database["environment"]["POSTGRES_USER"] == "sho$$p"
    assert database["cap_drop"] == ["ALL"] and "NET_RAW" not in database["cap_add"]
    assert database["security_opt"] == ["no-new-privileges:true"]


DONE = {
    "ran": [{"app": "tours", "name": "0004", "database": "default", "seconds": 1.5, "deferred": 1}],
    "contracted": [
        {"app": "tours", "name": "0004", "database": "default", "index": 1, "operation": "Drop x", "seconds": 0.5}
    ],
}
PLAN = [
    {"app": "tours", "name": "0004", "database": "default",
     "operations": [{"action": "now", "lock": "SHARE"}, {"action": "defer", "lock": "ACCESS EXCLUSIVE"}]},
]  # fmt: skip


def test_what_is_foretold_stands_beside_what_it_took() -> None:
    foretold = rehearsal.measured(DONE, PLAN)
    assert [(m["step"], m["seconds"], m["locks"]) for m in foretold] == [
        ("expanded", 1.5, ["SHARE"]), ("contracted", 0.5, ["ACCESS EXCLUSIVE"]),
    ]  # fmt: skip
    real = rehearsal.measured({"ran": [{**DONE["ran"][0], "seconds": 2.0}]}, [])
    both = rehearsal.beside(foretold, real)
    assert both[0]["real_seconds"] == 2.0 and "real_seconds" not in both[1]
    assert summary.comparison(both) == "rehearsed: tours.0004 1.50 s foretold, 2.00 s taken"
    assert summary.comparison([]) == ""


def test_a_failure_says_that_production_has_nothing_of_it() -> None:
    cause = summary.cause("What: tours.0004 failed: no\nNow: nothing was changed; the code that serves …\nNext: x")
    text = summary.failure(cause, ["a.dump"], summary.advice("", ["PARTNER"]))
    assert text.startswith("What: in the rehearsal on a.dump: tours.0004 failed: no\nNow: production was not touched")
    assert "PARTNER" in text and "update_rehearsal.environment" in text


def test_there_has_to_be_room() -> None:
    assert summary.no_room(100, 0, 125, "/x", 1, 1) == ""
    assert "/x has" in summary.no_room(100, 1, 125, "/x", 1, 1)
    assert "memory" in summary.no_room(0, 0, 1, "/x", 2, 1)


@pytest.mark.parametrize(
    ("words", "code", "table", "told"),
    [
        ('invalid input syntax for type integer: "a "b" c"', "22P02", None, 'invalid input syntax for type integer: "…"'),
        ('value "99999999999" is out of range for type integer', "22003", None, 'value "…" is out of range for type integer'),
        ('could not create unique index "o_email"', "23505", "tours_order",
         'could not create unique index "o_email" (table tours_order)'),
        ('column "n" of relation "o" contains null values', "23502", "o", 'column "n" of relation "o" contains null values'),
    ],
)  # fmt: skip
def test_an_error_of_the_database_names_the_table_and_quotes_no_value(
    words: str, code: str, table: str, told: str
) -> None:
    error = Exception("with values")
    error.diag, error.sqlstate = SimpleNamespace(message_primary=words, table_name=table), code  # type: ignore[attr-defined]
    assert session.words_of(error) == told
