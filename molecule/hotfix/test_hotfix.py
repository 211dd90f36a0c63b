# SPDX-License-Identifier: GPL-3.0-or-later
"""The server after a hotfix, as somebody sees it who logs in there."""

from __future__ import annotations

import json
import re
from typing import Any

ROOT = "/srv/travel"


def version(host: Any) -> str:
    """What users are told, through the port that nginx publishes on the server."""
    curl = "curl --silent --show-error --fail --retry 20 --retry-all-errors --retry-delay 1"
    return str(json.loads(host.check_output(f"{curl} http://127.0.0.1:8080/health/"))["version"])


def of_api(host: Any, form: str) -> str:
    return str(host.check_output(f"docker ps --filter label=com.docker.compose.service=api --format '{form}'"))


def test_users_get_the_changed_file(host: Any) -> None:
    assert version(host) == "v2-mended"


def test_the_release_is_a_hotfix_of_v2_that_was_found_good(host: Any) -> None:
    wanted = host.check_output("git --git-dir /srv/git/shop.git -c safe.directory=* rev-parse v2")
    assert re.fullmatch(rf"{ROOT}/releases/\d{{8}}T\d{{6}}Z-{wanted[:7]}\.h1", host.file(f"{ROOT}/current").linked_to)
    manifest = json.loads(host.check_output(f"cat {ROOT}/current/.evenkeel/manifest.json"))
    assert manifest["state"] == "verified" and [one["name"] for one in manifest["hotfixes"]] == ["mended"]


def test_the_team_finds_its_branch(host: Any) -> None:
    shown = host.check_output("git --git-dir /srv/git/shop.git -c safe.directory=* show hotfix/mended:shop/version.py")
    assert "v2-mended" in shown


def test_a_plain_compose_up_would_do_nothing(host: Any) -> None:
    done = host.run(f"cd {ROOT}/current && docker compose up --detach --dry-run 2>&1")
    assert done.rc == 0
    assert not re.findall(r"\b(?:Creat|Recreat|Remov|Start)(?:e|ed|ing)\b", done.stdout)


# The last one: what it leaves is not what the others look at.
def test_a_container_that_is_made_anew_has_it(host: Any) -> None:
    before = of_api(host, "{{.ID}}")
    host.check_output(f"cd {ROOT}/current && docker compose up --detach --force-recreate --no-deps --wait api")
    host.check_output("docker exec travel-nginx-1 nginx -s reload")
    assert of_api(host, "{{.ID}}") != before and version(host) == "v2-mended"
