# SPDX-License-Identifier: GPL-3.0-or-later
"""A release's tree against its commit, where the mirror of the repository does not have that commit."""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.host.trees import of_release
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.unit.app_on_a_server import App, git


def test_a_revision_that_no_update_has_fetched_yet_is_said_to_be_so(tmp_path: Path) -> None:
    app = App(tmp_path)
    release = app.built()
    store, mirror = Store(str(app.root)), app.root / "mirror.git"
    assert of_release(store, release).unseen == ""
    shutil.rmtree(mirror)
    git(tmp_path, "init", "--quiet", "--bare", str(mirror))
    assert "is not in the mirror of the repository yet; an update fetches it" in of_release(store, release).unseen
