# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``init`` makes of other people's stacks by their files alone: the service of Django, and where users come in."""

from __future__ import annotations

import shutil
import urllib.parse
from pathlib import Path

import pytest
import yaml

from ansible_collections.evenkeel.deploy.plugins.module_utils.init.host import describe
from tests.stacks.corpus import SEEN, UNSEEN

#: ``init`` of a table: which service has the app's Django, and the site as a user writes it.
TABLES = {
    path.parent.name: yaml.safe_load(path.read_text()) for path in Path(__file__).parent.glob("*/*/expected.yaml")
}
JUDGED = sorted(name for name, table in TABLES.items() if "init" in table)
#: No location that is a prefix leads to the app, and no health check names a path: it is asked for, not guessed.
NO_SITE = ["channels-two-servers-spa-builder"]


def found_in(name: str, tmp_path: Path) -> dict[str, str]:
    folder = next(parent / name for parent in (SEEN, UNSEEN) if (parent / name).is_dir())
    shutil.copytree(folder, tmp_path / name)
    files = tuple(str(tmp_path / name / file) for file in TABLES[name]["files"])
    result = describe.project_variables(describe.Request(files), check_mode=True)
    assert yaml.safe_load(result["text"]) == result["variables"]
    variables: dict[str, str] = result["variables"]
    assert result["problems"] == [] or name in ("cron-image-and-backups",), result["problems"]
    return variables


@pytest.mark.parametrize("name", JUDGED)
def test_the_files_say_which_service_is_djangos_and_where_users_come_in(name: str, tmp_path: Path) -> None:
    variables, right = found_in(name, tmp_path), TABLES[name]["init"]
    assert variables.get("app_django_service", "api") == right["django"]
    url = urllib.parse.urlsplit(variables.get("app_health_url", ""))
    assert f"{url.scheme}://{url.netloc}" == ("://" if name in NO_SITE else right["site"])


def test_most_stacks_that_can_be_served_are_judged() -> None:
    assert len(JUDGED) >= 18 and len(NO_SITE) <= len(JUDGED) / 5
