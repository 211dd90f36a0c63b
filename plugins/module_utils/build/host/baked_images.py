# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on this host that may hold values of the server's environment; no image is run or read for that."""

from __future__ import annotations

import io
import os
from typing import Any

from ...base.host.directory_handles import open_file
from ...base.host.files import read_json
from ...base.secret_values import MARK
from ...engine.definition import GENERATED, with_contexts
from ...engine.host.engine import Engine
from ...releases.host.adopted import RETURNING
from ...releases.host.store import Store
from .. import baked_secrets

# Where a release has values of its environment.
_TEXTS = (GENERATED, RETURNING, *(os.path.join(".evenkeel", name) for name in ("env", "env-before", "env-after")))


def _text(path: str) -> str:
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def baked_images(store: Store, engine: Engine, app: str) -> list[dict[str, Any]]:
    """Images of releases that may hold values which the server still uses.

    What was changed since is no secret any more, so it is not named.

    :returns: for each its ``image`` and the names of the ``variables``.
    """
    found: dict[str, set[str]] = {}
    for release in (r.id for r in store.all()):
        tree = store.path_of(release)
        project = with_contexts(read_json(os.path.join(tree, GENERATED)))
        shared = [str(path) for path in store.manifest(release).get("shared") or ()]
        mine = set()
        for service in (project.get("services") or {}).values() if MARK in project else ():
            image, section = str(service.get("image") or ""), service.get("build")
            labels = (engine.image(image).get("Config") or {}).get("Labels") if section and image else None
            if labels and baked_secrets.may_hold(section, labels, app, tree, shared):
                mine.add(image)
        texts = [_text(os.path.join(tree, name)) for name in _TEXTS] if mine else []
        # Of a folder, such as that of uploads, there is no text.
        held = [baked_secrets.held(texts, _text(os.path.join(store.root, "shared", p))) for p in shared if mine]
        for image in mine:
            found.setdefault(image, set()).update(*held)
    return [{"image": image, "variables": sorted(names)} for image, names in sorted(found.items()) if names]
