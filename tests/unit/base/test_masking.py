# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values are secret, and that none leaves a module: by results, diffs, records, the journal, progress or kept logs."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import known_secrets
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.masking import Mask, without_credentials
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.secret_values import (
    assignments,
    is_secret_name,
    named_by,
    names_in,
    secret_parts,
    variables_of,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.progress import Progress
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.records import Journal, Records
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.result import finish
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.project import as_text, shown

ROOT = Path(__file__).parents[3]
#: As a team has them: nothing of it is longer than it must be.
ENV = """\
DJANGO_SETTINGS_MODULE=shop.settings
ALLOWED_HOSTS=shop.example.com,localhost
SECRET_KEY=t0p$ecret   # change this
DB_PWD='pa/ss@w0rd'
export SMTP_PW="hunter22"
POSTGRES_DB=shop
POSTGRES_USER=shop
MONGO_URI=mongodb://shop:m0ng0pw@mongo:27017/shop?authSource=admin
REDIS_PASSWORD=redispass1
WORKERS=4
"""


def mask_of(variables: Mapping[str, str], project: Mapping[str, Any] | None = None) -> Mask:
    known = {part: name for name, value in variables.items() for part in secret_parts(name, value)}
    return Mask(known, {*named_by(variables.items()), *names_in(project or {})})


# -- addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("bad DATABASE_URL postgres://app:secret@db:5432/app", "bad DATABASE_URL postgres://…@db:5432/app"),
        ("postgres://app:se/cr@et@db/app", "postgres://…@db/app"),
        ("redis://:pass@redis:6379/0 is gone", "redis://…@redis:6379/0 is gone"),
        ("redis://:pa/ss@redis/0", "redis://…@redis/0"),
        ("amqp://u:p?q#r@mq//", "amqp://…@mq//"),
        ("https://x-token:ghp/abc@git.example.com/a.git", "https://…@git.example.com/a.git"),
        ("https://u:p@s/s@host/a", "https://…@host/a"),
        ("https://ghp0123@git.example.com/a.git", "https://…@git.example.com/a.git"),
        ('{"url": "mysql://u:p@h/d", "to": "a@b.c"}', '{"url": "mysql://…@h/d", "to": "a@b.c"}'),
        ("redis://:a@h1,redis://:b@h2", "redis://…@h2"),
        # What is none stays as it is.
        ("ssh://git@git.example.com/a.git", "ssh://git@git.example.com/a.git"),
        ("git@git.example.com:a.git", "git@git.example.com:a.git"),
        ("https://cdn.example.com/react@18/x.js", "https://cdn.example.com/react@18/x.js"),
        ("https://[::1]:8000/@name", "https://[::1]:8000/@name"),
        ("http://api:8000/a@b for a@b.c", "http://api:8000/a@b for a@b.c"),
    ],
)
def test_credentials_in_addresses(said: str, told: str) -> None:
    assert without_credentials(said) == told


# -- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["DB_PWD", "SMTP_PW", "SECRET_KEY_BASE", "DJANGO_SECRET_KEY", "API_TOKEN", "apiKey", "AWS_SECRET_ACCESS_KEY", "DBPASS",
     "PASSWORD2", "POSTGRES_PASSWORD", "SENTRY_DSN", "PASSWORD_SALT", "redis_pass", "SLACK_WEBHOOK", "requirepass", "masterauth"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["PWD", "OLDPWD", "DATABASE_HOST", "AUTH_USER_MODEL", "PASSWORD_RESET_TIMEOUT", "TOKEN_URL", "CACHE_KEY_PREFIX", "DEBUG",
     "POSTGRES_PASSWORD_FILE", "AUTHOR", "KEYBOARD", "PASSENGER_APP_ENV", "POSTGRES_HOST_AUTH_METHOD", "SPAWN", "SITE_URL"],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


# -- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("DB_PWD", "abcd", {"abcd"}),
        ("DB_PWD", "abc", set()),
        ("DB_PWD", "postgres", set()),
        ("EMAIL_HOST_PASSWORD", "correct horse", {"correct horse"}),
        ("MONGO_URI", "mongodb://shop:m0ng0@mongo/shop", {"m0ng0"}),
        ("DATABASE_URL", "postgres://u:a%2Fb%40c@h/d", {"a%2Fb%40c", "a/b@c"}),
        ("CONNECTION", "host=db user=app password=abcde", {"abcde"}),
        ("CELERY_RESULT_BACKEND", "redis://:pa/ss@redis/0", {"pa/ss"}),
        ("BROKERS", "amqp://u:first1@a;amqp://u:second2@b", {"first1", "second2"}),
        ("HOOK", "https://hooks.example.com/services/T0/B0/aB3xK9pQ2mZ7vW1nL5tY", {"aB3xK9pQ2mZ7vW1nL5tY"}),
        ("STRIPE", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", {"sk_live_4eC39HqLyjWDarjtT1zdp7dc"}),
        ("AWS_ACCESS", "AKIAIOSFODNN7EXAMPLE", {"AKIAIOSFODNN7EXAMPLE"}),
        ("SITE_URL", "https://shop.example.com/", set()),
        ("SENTRY_RELEASE", "shop@4eC39HqLyjWDarjtT1zdp7dc", set()),
        ("HEAD", "5d33865fdfc578b623a4dde03705b70f6820116e", set()),
        ("REGION", "eu-central-1", set()),
        ("AUTH_USER_MODEL", "accounts.CustomerAccount", set()),
    ],
)
def test_what_of_a_value_is_secret(name: str, value: str, parts: set[str]) -> None:
    assert secret_parts(name, value) == parts


def variables_of_others() -> list[tuple[str, str]]:
    """Every variable in the stacks of the corpus and the demo's example whose name holds no secret."""
    found = assignments((ROOT / "demo/shop/.env.example").read_text())
    for path in (ROOT / "tests/stacks/corpus").rglob("*.y*ml"):
        for document in yaml.safe_load_all(path.read_text().replace("!reset", "").replace("!override", "")):
            services = document.get("services") if isinstance(document, dict) else None
            for service in services.values() if isinstance(services, dict) else ():
                given = (service or {}).get("environment") if isinstance(service, dict) else None
                if isinstance(given, dict):
                    found += [(name, str(value)) for name, value in given.items() if value is not None]
    return [
        (name, value) for name, value in found if not is_secret_name(name) and "://" not in value and "$" not in value
    ]


def test_settings_of_other_peoples_stacks_are_readable() -> None:
    variables = variables_of_others()
    assert len(variables) > 60
    assert {name: value for name, value in variables if secret_parts(name, value)} == {}


def test_an_environment_file_is_read_as_compose_reads_it() -> None:
    text = (
        'A=one # two\n B = three\nexport C=\'four # five\'\nD="six\\"\\nseven" # eight\n# E=nine\nF=ten#11\nG: twelve\n'
    )
    assert assignments(text) == [
        ("A", "one"), ("B", "three"), ("C", "four # five"), ("D", 'six"\nseven'), ("F", "ten#11"), ("G", "twelve"),
    ]  # fmt: skip
    assert ("PW", "abc") in assignments("PW='abc\nTOKEN=xyz\nX='y'\n") and ("TOKEN", "xyz") in assignments(
        "PW='abc\nTOKEN=xyz\nX='y'\n"
    )


# -- texts --------------------------------------------------------------------------------------------------


def test_the_demos_own_messages_stay_as_they_are() -> None:
    variables = dict(assignments((ROOT / "demo/shop/.env.example").read_text()))
    mask = mask_of(
        variables, {"name": "shop", "services": {"db": {"image": "evenkeel/postgres:17"}, "api": {}, "celery": {}}}
    )
    for said in (
        "shop-api-1 is ready after 1.2 s; shop.settings, shop.localhost, db:5432/shop as shop",
        "updated to 3f2c1ab (releases/20261120T084911Z-5d33865), redis://redis:6379/0",
    ):
        assert mask.text(said) == said
    assert mask.text(f"bad {variables['SECRET_KEY']} {variables['POSTGRES_PASSWORD']}").startswith("bad <SECRET_KEY> <")


def test_a_password_that_is_a_name_of_the_project_would_break_every_message() -> None:
    mask = mask_of({"DB_PASSWORD": "shop", "MQ_PASSWORD": "travel"}, {"name": "travel-shop", "services": {"api": {}}})
    assert mask.text("travel-shop-api-1 of travel") == "travel-shop-api-1 of travel"


def test_a_short_word_is_masked_as_a_word_only() -> None:
    mask = mask_of({"DB_PASSWORD": "plum", "PIN": "1120"})
    assert mask.text("plum plumber 20261120T084911Z 1120") == "<DB_PASSWORD> plumber 20261120T084911Z <PIN>"


@pytest.mark.parametrize(
    "write",
    [str, lambda v: quote(v, safe=""), lambda v: json.dumps(v)[1:-1], repr, lambda v: base64.b64encode(v.encode()).decode(),
     lambda v: base64.b64encode(b"user:" + v.encode() + b"\n").decode(), lambda v: base64.urlsafe_b64encode(b"ab" + v.encode()).decode(),
     lambda v: v.replace("'", "''"), lambda v: v.replace("$", "$$")],
)  # fmt: skip
def test_other_forms_of_a_value(write: Any) -> None:
    value = "tö/p'$ec\"ret?~"
    said = mask_of({"APP_SECRET": value}).text(f"it is {write(value)}.")
    assert "<APP_SECRET>" in said and "ec" not in said.replace("secret", "").replace("SECRET", "")


def test_one_that_was_cut_off() -> None:
    value = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"
    mask = mask_of({"KEY": "4eC39HqLyjWDarjtT1zdp7dc", "OTHER_KEY": value})
    assert mask.text("key 4eC39HqLyjWDar") == "key <KEY>" and mask.text("yjWDarjtT1zdp7dc …") == "<KEY> …"


def test_masking_again_changes_nothing() -> None:
    mask = mask_of({"API_TOKEN": "TOKEN", "PASSWORD": "API_TOKEN"})
    once = mask.text("a TOKEN and API_TOKEN")
    assert once == "a <API_TOKEN> and <PASSWORD>" and mask.text(once) == once


# -- what a project has --------------------------------------------------------------------------------------


def test_options_labels_and_drivers_of_a_project() -> None:
    project = {
        "name": "shop",
        "services": {
            "redis": {
                "command": ["redis-server", "--requirepass", "plum$$pudding"],
                "healthcheck": {"test": ["CMD-SHELL", "redis-cli -a 'plum$$pie' ping"]},
                "labels": {"traefik.http.middlewares.a.basicauth.users": "op:$$2y$$05$$Zk3mB9vTq1LxW8nR4cYh7e"},
                "logging": {"options": {"splunk-token": "loggy"}},
            },
            "db": {"command": "postgres --auth-token=crumble -c max_connections=100", "environment": {"A": None}},
            "sh": {"entrypoint": ["sh", "-c", "PGPASSWORD=custard psql --key /etc/ssl/shop.key"]},
        },
        "volumes": {"share": {"driver_opts": {"o": "username=u,password=trifle"}}},
        "configs": {"c": {"content": "[x]\npassword = fool4\n"}},
    }
    found = {part for name, value in variables_of(project) for part in secret_parts(name, value)}
    assert {"plum$pudding", "plum$pie", "loggy", "crumble", "custard", "trifle", "fool4"} <= found
    assert any("Zk3mB9vTq1LxW8nR4cYh7e" in part for part in found)
    assert not {"100", "redis-server", "/etc/ssl/shop.key"} & found


# -- the exits -----------------------------------------------------------------------------------------------

SECRETS = ("t0p$ecret", "pa/ss@w0rd", "hunter22", "m0ng0pw", "redispass1", "fr0m-a-f1le", "old-one-1x9Qz7")
SAID = "; ".join(SECRETS) + " postgres://app:never-seen@db/x " + quote("pa/ss@w0rd", safe="")


class Ended(Exception):
    """As AnsibleModule ends."""


class Module:
    """An AnsibleModule that keeps what it ended with, its invocation included."""

    check_mode = False

    def __init__(self) -> None:
        self.params: dict[str, Any] = {"repo": "https://u:pa/ss@w0rd@git.example.com/a.git", "project_src": "/srv/shop"}
        self.told = ""

    def exit_json(self, **result: Any) -> None:
        self.told = json.dumps({**result, "invocation": {"module_args": self.params}}, ensure_ascii=False)

    def fail_json(self, msg: str, **result: Any) -> None:
        self.exit_json(msg=msg, failed=True, **result)


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compose:
    """A project whose secrets were resolved, with the container of an older one inspected."""
    (tmp_path / ".env").write_text(ENV)
    (tmp_path / "token.txt").write_text("fr0m-a-f1le\n")
    project = {
        "x-evenkeel-release": {}, "name": "shop", "secrets": {"token": {"file": str(tmp_path / "token.txt")}},
        "services": {"api": {"environment": dict(assignments(ENV))}, "redis": {"command": ["redis-server"]}},
    }  # fmt: skip
    (tmp_path / "compose.yaml").write_text(json.dumps(project))
    known_secrets.learn_environment(["PATH=/usr/bin", "DB_PWD=old-one-1x9Qz7"])
    found = Compose(str(tmp_path))
    found.resolved()
    return found


def is_clean(text: str) -> bool:
    return not any(secret in text or quote(secret, safe="") in text for secret in (*SECRETS, "never-seen"))


@pytest.mark.parametrize("how", [BadInput, RuntimeError, OSError, "failed", "ok"])
def test_no_secret_leaves_a_module(compose: Compose, how: Any) -> None:
    def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
        if isinstance(how, str):
            lines = [{"line": SAID, SAID: 1}]
            return {"changed": True, "failed": how == "failed", "msg": SAID, "diff": {"after": SAID}, "timeline": lines}
        raise how(SAID)

    module = Module()
    finish(module, call)
    assert is_clean(module.told)
    assert "<REDIS_PASSWORD>" in module.told and "<SMTP_PW>" in module.told and "/srv/shop" in module.told


def test_no_secret_is_written_down(compose: Compose, tmp_path: Path) -> None:
    Journal(str(tmp_path / "journal")).append({"event": "goal undo", "reason": SAID})
    records = Records(str(tmp_path))
    run = "20261120T084911Z-update-0123abcd"
    os.makedirs(tmp_path / "operations")
    (tmp_path / f"operations/{run}.json").write_text("{}")
    records.write(run, {"run": run, "app": "shop", "steps": []})
    records.add_step(run, {"step": "roll", "message": SAID})
    progress = Progress.open(str(tmp_path), "0" * 32)
    progress.say(f"tests: {SAID}", "test")
    progress.close()
    for path in ("journal", f"operations/{run}.json", f"progress/{'0' * 32}.jsonl"):
        text = (tmp_path / path).read_text()
        assert is_clean(json.dumps(json.loads(text), ensure_ascii=False)) and "<SMTP_PW>" in text
    assert records.read(run)["app"] == "shop"


def test_a_diff_shows_no_option_label_or_commented_value(compose: Compose) -> None:
    project = {
        "name": "shop",
        "services": {
            "redis": {"command": ["redis-server", "--requirepass", "redispass1"]},
            "api": {"labels": {"basicauth": "t0p$ecret"}, "environment": {"SECRET_KEY": "t0p$ecret"}},
        },
    }
    module = Module()
    finish(module, lambda _params, _check: {"changed": True, "diff": {"after": shown(as_text(project))}})
    assert is_clean(module.told) and "--requirepass" in module.told


def test_a_pipe_in_the_place_of_a_secrets_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    known_secrets.learn_project({"secrets": {"a": {"file": str(tmp_path / "pipe")}, "b": {"file": "/dev/zero"}}})
    assert known_secrets.masked_text("as it is") == "as it is"
