# SPDX-License-Identifier: GPL-3.0-or-later
"""The server after its first deployment and an update, as somebody sees it who logs in there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

ROOT = "/srv/travel"
STATE = "/var/lib/evenkeel/travel"
SERVICES = ["api", "celery", "celery-beat", "db", "nginx", "redis"]
SECRET = "change-me-in-production-0123456789abcdefghijklmnopqrstuvwxyz"


def answer(host: Any, path: str) -> str:
    """What users get, through the port that nginx publishes on the server."""
    return str(host.check_output("curl --silent --show-error --fail http://127.0.0.1:8080%s", path))


def test_users_get_v2(host: Any) -> None:
    assert json.loads(answer(host, "/health/"))["version"] == "v2"
    page = answer(host, "/")
    sheet = re.search(r'href="(/static/[^"]+\.css)"', page)
    assert "Even Keel Travel" in page and sheet is not None
    assert answer(host, sheet[1])


def test_files_of_v1_are_still_there_for_those_who_have_its_page(host: Any) -> None:
    names = host.check_output("docker exec travel-nginx-1 ls /app/staticfiles/tours").split()
    assert [n for n in names if re.fullmatch(r"winter\.[0-9a-f]+\.css", n)]


def test_the_current_release_is_v2(host: Any) -> None:
    link = host.file(f"{ROOT}/current").linked_to
    wanted = host.check_output("git --git-dir /srv/git/shop.git -c safe.directory=* rev-parse v2")
    assert re.fullmatch(rf"{ROOT}/releases/\d{{8}}T\d{{6}}Z-{wanted[:7]}", link)
    assert host.check_output(f"readlink {ROOT}/current").startswith("releases/")
    states = host.check_output(f"grep -h '\"state\"' {ROOT}/releases/*/.evenkeel/manifest.json").split("\n")
    assert [s.strip(" ,") for s in states] == ['"state": "verified"'] * 2


def test_what_may_hold_secrets_is_for_its_owner_only(host: Any) -> None:
    for name in ("shared/.env", "current/compose.yaml", "current/.evenkeel/manifest.json"):
        assert host.file(f"{ROOT}/{name}").mode == 0o600
    for name in (STATE, f"{ROOT}/current/.evenkeel"):
        assert host.file(name).mode == 0o700
    assert host.file(STATE).user == "root"
    found = host.run(f"find {ROOT} /var/lib/evenkeel /tmp -type f -perm /077 -exec grep -l -F -e {SECRET} {{}} +")
    # git's own copy of the example is nobody's secret.
    assert [line for line in found.stdout.split() if not line.endswith("/.env.example")] == []


def test_trees_are_the_owners(host: Any) -> None:
    for name in ("releases", "mirror.git", "current/manage.py", "current/shop"):
        assert host.file(f"{ROOT}/{name}").user == "deploy"


def test_nothing_is_left_over(host: Any) -> None:
    lines = host.check_output("docker ps --all --format '{{.Label \"com.docker.compose.service\"}} {{.State}}'").split(
        "\n"
    )
    assert sorted(lines) == [f"{service} running" for service in SERVICES]
    assert "evenkeel" not in host.check_output("docker exec travel-nginx-1 cat /etc/hosts")
    top = ["backups", "current", "mirror.git", "releases", "shared"]
    assert sorted(host.check_output(f"ls -A {ROOT}").split()) == top
    assert host.check_output(f"find {ROOT} -name '.making-*' -o -name '*.part' -o -name '.evenkeel-*'") == ""
    assert len(host.file(f"{ROOT}/releases").listdir()) == 2


def test_a_plain_compose_up_would_do_nothing(host: Any) -> None:
    done = host.run(f"cd {ROOT}/current && docker compose up --detach --dry-run 2>&1")
    assert done.rc == 0
    assert not re.findall(r"\b(?:Creat|Recreat|Remov|Start)(?:e|ed|ing)\b", done.stdout)


@pytest.mark.parametrize("service", ["api", "celery", "celery-beat"])
def test_all_that_is_ours_runs_one_image_of_that_commit(host: Any, service: str) -> None:
    wanted = host.check_output("git --git-dir /srv/git/shop.git -c safe.directory=* rev-parse v2")
    found = host.check_output(
        f"docker ps --filter label=com.docker.compose.service={service} --format '{{{{.Image}}}}'"
    )
    assert found == f"travel-api:{wanted[:12]}"
