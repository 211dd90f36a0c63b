# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container (``manage.py shell``): collect static files beside the live ones.

Nothing is deleted; hashed files come first and the manifest last, merged so that a worker of the version
before, started anew, still finds its entries.  What gets replaced is kept for the way back.  Prints one line
``EVENKEEL {json}``.  It is sent as text, so it may import nothing but Django and the standard library.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import sys
from typing import Any


def _keep(live: str, backup: str, relative: str) -> None:
    kept = os.path.join(backup, relative)
    if os.path.exists(live) and not os.path.exists(kept):
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        os.link(live, kept)


def _install(source: str, live: str) -> None:
    os.makedirs(os.path.dirname(live), exist_ok=True)
    os.replace(source, live)


def _load(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return {}


def _dump(path: str, value: Any) -> None:
    with open(path + ".part", "w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".part", path)


def restore(root: str) -> dict[str, Any]:
    """Put back what the last publication replaced."""
    backup = os.path.join(root, ".evenkeel", "before")
    restored = 0
    for folder, _folders, names in os.walk(backup):
        for name in names:
            relative = os.path.relpath(os.path.join(folder, name), backup)
            _install(os.path.join(folder, name), os.path.join(root, relative))
            restored += 1
    own = os.path.join(root, ".evenkeel", "own-before.json")
    if os.path.exists(own):
        os.replace(own, os.path.join(root, ".evenkeel", "own.json"))
    shutil.rmtree(backup, ignore_errors=True)
    return {"changed": restored > 0, "files": restored}


def publish(root: str, revision: str) -> dict[str, Any]:
    """Collect into a folder beside, then move file by file."""
    from django.conf import settings
    from django.core.management import call_command

    ours = os.path.join(root, ".evenkeel")
    own = _load(os.path.join(ours, "own.json"))
    if own.get("revision") == revision and revision:
        return {"changed": False, "files": 0}
    staging, backup = os.path.join(ours, "staging"), os.path.join(ours, "before")
    for leftover in (staging, backup):
        shutil.rmtree(leftover, ignore_errors=True)
    os.makedirs(staging)
    os.makedirs(backup)
    settings.STATIC_ROOT = staging
    call_command("collectstatic", interactive=False, verbosity=0)
    from django.contrib.staticfiles.storage import staticfiles_storage

    manifest_name = getattr(staticfiles_storage, "manifest_name", "")
    changed = 0
    found = [
        os.path.relpath(os.path.join(folder, name), staging)
        for folder, _folders, names in os.walk(staging)
        for name in names
    ]
    for relative in sorted(found):
        source, live = os.path.join(staging, relative), os.path.join(root, relative)
        if relative == manifest_name or (os.path.exists(live) and filecmp.cmp(source, live, shallow=False)):
            continue
        _keep(live, backup, relative)
        _install(source, live)
        changed += 1
    fresh = _load(os.path.join(staging, manifest_name)) if manifest_name else {}
    if fresh:
        live = os.path.join(root, manifest_name)
        present = _load(live)
        earlier = own.get("paths") or present.get("paths") or {}
        merged = dict(fresh, paths={**earlier, **fresh.get("paths", {})})
        if merged != present:
            _keep(live, backup, manifest_name)
            _dump(live, merged)
            changed += 1
    shutil.rmtree(staging, ignore_errors=True)
    if own:
        _dump(os.path.join(ours, "own-before.json"), own)
    _dump(os.path.join(ours, "own.json"), {"revision": revision, "paths": fresh.get("paths", {})})
    return {"changed": changed > 0, "files": changed}


def main(state: str, revision: str) -> None:
    """Do what was asked for and print the result."""
    from django.conf import settings

    root = str(settings.STATIC_ROOT or "")
    backend = (getattr(settings, "STORAGES", None) or {}).get("staticfiles", {}).get("BACKEND", "")
    result: dict[str, Any] = {"changed": False, "files": 0, "root": root, "backend": backend}
    if root:
        result.update(restore(root) if state == "restored" else publish(root, revision))
    sys.stdout.write("\nEVENKEEL " + json.dumps(result) + "\n")
