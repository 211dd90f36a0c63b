# SPDX-License-Identifier: GPL-3.0-or-later
"""An app that somebody started by hand, after init and adopt: described rightly, taken over, and not touched."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "deploy"


def test_the_variables_are_right_without_an_edit() -> None:
    assert yaml.safe_load((DEPLOY / "group_vars/travel.yml").read_text()) == {
        "app_name": "travel",
        "app_root": "/srv/travel",
        "app_repo": "/srv/git/shop.git",
        "app_owner": "deploy",
        "app_health_url": "http://127.0.0.1:8080/health/",
    }


def test_the_inventory_has_the_way_to_the_server() -> None:
    hosts = yaml.safe_load((DEPLOY / "inventory.yml").read_text())["travel"]["hosts"]
    assert hosts == {"evenkeel-molecule-init": {"ansible_user": "deploy", "ansible_become": True}}


def test_the_app_is_taken_over_and_was_not_touched(host: Any) -> None:
    assert json.loads(host.check_output("curl -sSf http://127.0.0.1:8080/health/"))["version"] == "v1"
    release = host.check_output("readlink /srv/travel/current")
    manifest = json.loads(host.check_output("cat /srv/travel/current/.evenkeel/manifest.json"))
    assert release.startswith("releases/") and manifest["adopted"]["folder"] == "/home/deploy/travel"
    names = host.check_output("docker ps --all --format '{{.Names}}'").split()
    assert sorted(names) == sorted(f"travel-{s}-1" for s in ("api", "celery", "celery-beat", "db", "nginx", "redis"))
    assert "DRY-RUN" not in host.run("cd /home/deploy/travel && git status --porcelain").stdout
