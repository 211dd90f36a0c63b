# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services run to completion, when they run, and which of them an update does itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.commands import ends_by_itself, simple_commands
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.jobs import (
    AFTER,
    BEFORE,
    PROFILE,
    BadJob,
    django_of,
    has_run,
    identity,
    in_order,
    is_off,
    jobs_of,
    point_of,
    refuse_mixed,
    set_apart,
)

WEB = {"command": ["gunicorn", "shop.wsgi"], "restart": "unless-stopped"}
DONE = {"condition": "service_completed_successfully"}


def project(**services: dict[str, Any]) -> dict[str, Any]:
    return {"name": "shop", "services": services}


@pytest.mark.parametrize(
    "command",
    [
        "npm run build",
        "npm --prefix frontend run build:prod",
        "sh -c 'npm ci && npm run build'",
        ["sh", "-c", "yarn install --frozen-lockfile && yarn build"],
        ["pnpm", "run", "build"],
        ["npx", "vite", "build"],
        ["ng", "build", "--configuration", "production"],
        ["webpack", "--mode", "production"],
        ["python", "manage.py", "migrate", "--noinput"],
        ["/venv/bin/python3.12", "/app/manage.py", "collectstatic", "--noinput"],
        "bash -c 'set -e; python manage.py compilemessages; python manage.py collectstatic --noinput'",
        ["bash", "-lc", "python manage.py migrate\npython manage.py loaddata tours\n"],
        ["poetry", "run", "python", "manage.py", "migrate"],
        ["wait-for-it", "db:5432", "--", "python", "manage.py", "migrate"],
        "sh -c 'until pg_isready -h db; do sleep 1; done; python -m django migrate'",
        "sh -c 'while ! nc -z db 5432; do sleep 1; done; DJANGO_SETTINGS_MODULE=a.b django-admin migrate'",
    ],
)
def test_a_command_that_ends(command: Any) -> None:
    assert ends_by_itself({"command": command})
    # Copied from the web service beside it, as people do: it would run again and again.
    assert ends_by_itself({"command": command, "restart": "unless-stopped"})


@pytest.mark.parametrize(
    "command",
    [
        None,
        "sleep 5",
        "npm start",
        "npm run dev",
        "npm run build -- --watch",
        "npm run build:watch",
        "npx vite",
        "webpack serve",
        "sh -c 'npm run build && npx serve dist'",
        "sh -c 'npm run build && sleep infinity'",
        "python manage.py runserver",
        "python manage.py qcluster",
        "python manage.py our_own_bot",
        "python bot.py",
        "sh -c 'while :; do python manage.py clearsessions; sleep 60; done'",
        "sh -c 'python manage.py migrate && gunicorn shop.wsgi'",
        "sh -c 'node server.js & cp -r dist/* /out/'",
        "sh -c 'while true; do node pull.js; cp -r dist/* /out/; done'",
        "sh -c 'cp -r dist/* /out/ && node server.js'",
        "sh -c 'python manage.py runserver; cp log /out/'",
    ],
)
def test_a_command_that_may_go_on(command: Any) -> None:
    assert not ends_by_itself({"command": command})


@pytest.mark.parametrize(
    "command",
    [
        "python manage.py our_own_import",
        ["psql", "-f", "/init.sql"],
        "./scripts/build.sh",
        "python seed_tours.py",
        ["sh", "/docker/setup-buckets.sh"],
    ],
)
def test_more_is_believed_of_what_is_not_started_again(command: Any) -> None:
    assert not ends_by_itself({"command": command, "restart": "always"})
    assert ends_by_itself({"command": command, "restart": "no"})
    assert ends_by_itself({"command": command, "restart": "on-failure:3"})
    assert not ends_by_itself({"command": "python worker.py", "restart": "no"})


@pytest.mark.parametrize(
    "command",
    [
        "cp -r /app/dist/. /html/",
        "chown -R 1000:1000 /data",
        "sh -c 'npm ci && npm run build && cp -r dist/* /out/'",
        ["sh", "-c", "npm run build && rm -rf /out/* && cp -r dist/. /out/"],
        "sh -c 'node build.js && cp -r dist/* /out/'",
        ["sh", "-c", "python3 build.py && cp -r dist/* /out/"],
        "sh -c 'make && rsync -a dist/ /out/'",
        ["sh", "-c", "./compile\nmv public /out\n"],
    ],
)
def test_tools_for_files_end_unless_they_are_to_be_started_again(command: Any) -> None:
    assert ends_by_itself({"command": command})
    assert ends_by_itself({"command": command, "restart": "no"})
    assert not ends_by_itself({"command": command, "restart": "always"})


def test_an_entrypoint_that_wraps_is_looked_through() -> None:
    assert simple_commands(["/entrypoint.sh"], ["python", "manage.py", "migrate"]) == [
        ["python", "manage.py", "migrate"]
    ]
    assert simple_commands(["python", "manage.py"], ["migrate"]) == [["python", "manage.py", "migrate"]]
    assert simple_commands(["sh", "-c"], ["a && b"]) == [["a"], ["b"]]
    assert simple_commands(["/entrypoint.sh"], None) == [["/entrypoint.sh"]]
    assert simple_commands(None, None) == []


@given(st.text(), st.one_of(st.text(), st.lists(st.text())))
def test_no_command_is_too_odd(entrypoint: str, command: Any) -> None:
    ends_by_itself({"entrypoint": [entrypoint], "command": command, "restart": "no"})
    django_of({"command": command}, {"Entrypoint": [entrypoint]})


def test_who_is_a_job() -> None:
    shop = project(
        api={**WEB, "depends_on": {"frontend": DONE, "db": {"condition": "service_healthy"}}},
        frontend={"build": {"context": "frontend"}},
        db={"image": "postgres:17"},
        migrate={"build": {"context": "."}, "command": "python manage.py migrate"},
        builder={"build": {"context": "."}, "restart": "no"},
        server={"build": {"context": "."}, "restart": "no"},
        published_builder={"build": {"context": "."}, "restart": "no", "ports": [{"target": 80}]},
        said={"image": "x", "x-evenkeel": {"kind": "job"}},
        denied={"command": "npm run build", "x-evenkeel": {"kind": "other"}},
    )
    assert jobs_of(shop) == ["builder", "frontend", "migrate", "said"]
    options = {"said": {"kind": "other"}, "server": {"kind": "job"}, "frontend": {"drain_timeout": 1}}
    assert jobs_of(shop, options) == ["builder", "frontend", "migrate", "server"]
    assert jobs_of({"name": "nothing"}) == []


def test_jobs_are_out_of_everybodys_way() -> None:
    shop = project(
        api={**WEB, "depends_on": {"frontend": DONE, "migrate": DONE}},
        nginx={"image": "nginx", "depends_on": {"api": {"condition": "service_started"}, "frontend": DONE}},
        frontend={"command": "npm run build", "depends_on": {"schema": DONE}, "x-evenkeel": {"publish": True}},
        schema={"command": "x", "restart": "no"},
        migrate={"command": "python manage.py migrate"},
    )
    result = set_apart(shop)["services"]
    assert "depends_on" not in result["api"]
    assert result["nginx"]["depends_on"] == {"api": {"condition": "service_started"}}
    assert result["frontend"]["depends_on"] == {"schema": DONE}
    assert result["frontend"]["x-evenkeel"] == {"publish": True, "kind": "job"}
    assert [n for n, s in result.items() if s.get("profiles") == [PROFILE]] == ["frontend", "schema", "migrate"]
    assert shop["services"]["api"]["depends_on"], "the given one is left alone"
    # What the generated file says is read the same again, though nobody waits for them any more.
    again = set_apart({"name": "shop", "services": result})
    assert again["services"] == result
    assert jobs_of(again) == jobs_of(shop) == ["frontend", "migrate", "schema"]


def test_what_is_never_replaced_goes_on_depending_on_a_job_that_it_was_started_with() -> None:
    """Compose 2.26 takes a proxy without that line for another one, which would be a gap."""
    started = {"condition": "service_started"}
    shop = project(
        api={**WEB, "depends_on": {"frontend": started}},
        edge={"image": "nginx", "depends_on": {"api": started, "frontend": started}},
        frontend={"command": "sh -c 'npm run build && cp -r dist/* /out/'", "depends_on": {"schema": DONE}},
        schema={"command": "python manage.py migrate"},
    )
    result = set_apart(shop, serving=shop)["services"]
    assert result["edge"] == shop["services"]["edge"] and "depends_on" not in result["api"]
    # Compose refuses who depends on a service whose profile is not asked for, and starts none without replicas.
    for name in ("frontend", "schema"):
        assert "profiles" not in result[name] and result[name]["deploy"] == {"replicas": 0} and not is_off(result[name])
    assert set_apart(project(**result))["services"] == result, "read again it is the same"
    assert set_apart(shop, serving=project(**result))["services"] == result, "and so is the release after it"
    other = project(**{**shop["services"], "edge": {"image": "nginx", "depends_on": {"api": started}}})
    for serving in (None, other):
        assert set_apart(shop, serving=serving)["services"]["edge"]["depends_on"] == {"api": started}
    off = project(**{**shop["services"], "frontend": {**shop["services"]["frontend"], "deploy": {"replicas": 0}}})
    result = set_apart(off, serving=off)["services"]
    assert is_off(result["frontend"]) and result["frontend"]["profiles"] == [PROFILE]


def test_without_jobs_a_project_stays_as_it_is() -> None:
    shop = project(api={**WEB, "depends_on": {"db": {"condition": "service_healthy"}}}, db={"image": "postgres"})
    assert set_apart(shop) == shop


def test_jobs_run_after_those_they_depend_on() -> None:
    shop = project(a={"depends_on": {"c": DONE}}, b={}, c={"depends_on": {"b": DONE, "db": DONE}}, db={})
    assert in_order(shop, ["a", "b", "c"]) == ["b", "c", "a"]
    with pytest.raises(BadJob, match="a and b depend on each other"):
        in_order(project(a={"depends_on": ["b"]}, b={"depends_on": ["a"]}), ["a", "b"])


def test_a_job_that_needs_the_new_version_runs_after_the_roll() -> None:
    shop = project(
        early={"depends_on": {"db": DONE, "redis": DONE}},
        late={"depends_on": {"api": DONE}},
        later={"depends_on": {"early": DONE, "late": DONE}},
        round={"depends_on": {"round": DONE}},
        api=WEB,
        db={},
        redis={},
    )
    kinds = {
        "api": "web",
        "db": "database",
        "redis": "broker",
        **dict.fromkeys(("early", "late", "later", "round"), "job"),
    }
    found = {n: point_of(shop, n, kinds) for n in ("early", "late", "later", "round")}
    assert found == {"early": BEFORE, "late": AFTER, "later": AFTER, "round": BEFORE}


@pytest.mark.parametrize(
    ("command", "taken_over"),
    [
        ("python manage.py migrate --noinput", True),
        ("sh -c 'set -e; python manage.py check && python manage.py migrate && manage.py collectstatic'", True),
        ("python manage.py collectstatic", True),
        ("python manage.py loaddata tours", False),
        ("sh -c 'npm run build && python manage.py collectstatic'", False),
        ("npm run build", False),
    ],
)
def test_what_an_update_does_itself(command: str, taken_over: bool) -> None:
    found = django_of({"command": command}, {})
    assert found.taken_over == taken_over
    refuse_mixed("prepare", found, False)


def test_the_image_says_what_the_service_does_not() -> None:
    image = {"Entrypoint": ["/entrypoint.sh"], "Cmd": ["python", "manage.py", "migrate"]}
    assert django_of({}, image).taken_over
    assert django_of({"command": "npm run build"}, image).commands == ()
    assert django_of({"entrypoint": ["/other"]}, image).others == ("/other",)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("sh -c 'python manage.py migrate && python manage.py loaddata tours'", "manage.py loaddata"),
        ("sh -c 'python manage.py migrate && curl https://user:secret@example.com'", "curl"),
    ],
)
def test_migrations_beside_other_things_are_refused_without_telling_secrets(command: str, named: str) -> None:
    with pytest.raises(BadJob) as refused:
        refuse_mixed("prepare", django_of({"command": command}, {}), False)
    assert named in str(refused.value) and "prepare" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_migrations_beside_static_files_that_only_the_job_can_put_there_are_refused() -> None:
    both = django_of({"command": "sh -c 'manage.py migrate && manage.py collectstatic'"}, {})
    with pytest.raises(BadJob, match="collectstatic"):
        refuse_mixed("prepare", both, True)


def test_a_job_is_another_run_with_another_environment_or_image() -> None:
    one = {"command": "x", "environment": {"A": "1"}}
    assert identity(one, "i") != identity({**one, "environment": {"A": "2"}}, "i")
    assert identity(one, "i") != identity(one, "j")
    assert identity(one, "i") == identity({**one, "depends_on": {}, "profiles": ["p"], "labels": {"a": "b"}}, "i")


def test_it_has_run_while_what_it_made_is_there() -> None:
    record = {"identity": "x"}
    assert has_run(record, "x", [], [])
    assert has_run(record, "x", ["v"], {"v", "w"})
    assert not has_run(record, "x", ["v"], {"w"})
    assert not has_run(record, "y", [], [])
    assert not has_run({}, "x", [], [])
