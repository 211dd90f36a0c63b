# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that were built with the server's environment in them are named, with the variables to change, and no value is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.secret_values import MARK
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.baked_secrets import findings_of, held, may_hold
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.host.baked_images import baked_images
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.project import PROJECT_LABEL
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.findings import ACT, Seen, findings

OURS = {PROJECT_LABEL: "shop"}
OLD, NEW = "20261120T080000Z-aaaaaaa", "20261120T090000Z-bbbbbbb"


class Images:
    """An engine that knows the labels of images alone."""

    def __init__(self, **labels: Mapping[str, str]) -> None:
        self.labels = labels

    def image(self, name: str) -> dict[str, Any]:
        return {"Id": name, "Config": {"Labels": self.labels[name]}} if name in self.labels else {}


@pytest.mark.parametrize(
    ("section", "labels", "baked"),
    [
        ({"context": "/r"}, OURS, True),
        ({"context": "/r"}, {**OURS, "evenkeel.context": "clean"}, False),
        # Pulled, or built by a person elsewhere; of another app of this host.
        ({"context": "/r"}, {}, False),
        ({"context": "/r"}, {PROJECT_LABEL: "other"}, False),
        # Its folder has nothing of the server's in it; the other has an environment of its own.
        ({"context": "/r/front"}, OURS, False),
        ({"context": "/r/back"}, OURS, True),
        ({"context": "/r/front", "additional_contexts": {"all": "/r/"}}, OURS, True),
        ({"context": "https://git.example/x.git"}, OURS, False),
        ({"context": "/"}, OURS, True),
    ],
)
def test_which_images_may_hold_them(section: Mapping[str, Any], labels: Mapping[str, str], baked: bool) -> None:
    assert may_hold(section, labels, "shop", "/r", [".env", "back/.env"]) is baked


def test_which_variables_are_named() -> None:
    environment = """# PASSWORD=commented
SECRET_KEY=s3cret$key
export DB_PWD = 'quo"ted one'
MAIL="double quoted" # why
ROTATED=is-another-now
WITH_COMMENT=plain-value # why
PORT=800000
DEBUG=false
SHORT=abc
"""
    text = json.dumps(
        {"a": "s3cret$$key", "b": ['quo"ted one', "double quoted", "plain-value", "800000", "false", "abc"]}
    )
    assert held([text], environment) == {"SECRET_KEY", "DB_PWD", "MAIL", "WITH_COMMENT"}
    assert held([], environment) == set()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two releases of a shop whose password was changed between them."""
    for release, password in ((OLD, "old-password"), (NEW, "new-password")):
        tree = tmp_path / "releases" / release
        (tree / ".evenkeel").mkdir(parents=True)
        manifest = {"id": release, "revision": release[-7:], "state": "verified", "shared": [".env", "media"]}
        (tree / ".evenkeel/manifest.json").write_text(json.dumps(manifest))
        project = {
            MARK: {},
            "services": {
                name: {
                    "image": f"{name}:{release[-1]}",
                    "build": {"context": str(tree)},
                    "environment": {"P": password},
                }
                for name in ("api", "worker")
            },
        }
        (tree / "compose.yaml").write_text(json.dumps(project))
    (tmp_path / "shared/media").mkdir(parents=True)
    (tmp_path / "shared/.env").write_text("DB_PASSWORD=new-password\nMAIL=not-in-any\n")
    return Store(str(tmp_path))


def test_an_image_with_a_value_of_today_is_named_until_it_is_changed_or_built_anew(
    store: Store, tmp_path: Path
) -> None:
    clean = {**OURS, "evenkeel.context": "clean"}
    engine: Any = Images(**{"api:a": OURS, "api:b": OURS, "worker:b": clean})
    assert baked_images(store, engine, "shop") == [{"image": "api:b", "variables": ["DB_PASSWORD"]}]
    # A hotfix of the environment has left what it wrote into that release, and nothing else of it.
    (tmp_path / "releases" / NEW / ".evenkeel/env-after").write_text("MAIL=not-in-any\n")
    assert baked_images(store, engine, "shop") == [{"image": "api:b", "variables": ["DB_PASSWORD", "MAIL"]}]
    (tmp_path / "shared/.env").write_text("DB_PASSWORD=newest-password\n")
    assert baked_images(store, engine, "shop") == []
    (tmp_path / "shared/.env").write_text("DB_PASSWORD=new-password\n")
    assert baked_images(store, Images(**{"api:b": clean}), "shop") == []  # type: ignore[arg-type]


def test_it_is_told_what_to_do_and_no_value() -> None:
    baked = [{"image": "api:b", "variables": ["DB_PASSWORD"]}, {"image": "web:b", "variables": ["MAIL", "DB_PASSWORD"]}]
    (told,) = [f for f in findings(Seen("shop", baked=baked)) if f.about == "secrets"]
    assert (told.level, told.what) == (
        ACT,
        "images that were built with the server's environment in them may hold the values of DB_PASSWORD, MAIL: api:b, web:b",
    )
    assert told.next.startswith("change what is secret of DB_PASSWORD, MAIL, in shared/ and where it is checked; then ")
    assert told.next.endswith(
        "ansible-playbook evenkeel.deploy.update -e update_version=VERSION -e update_rebuild=true"
    )
    assert findings_of([]) == []
