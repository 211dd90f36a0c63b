# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container (``manage.py shell``): collect static files beside the live ones.

Nothing is deleted; hashed files come first and the manifest last, merged so that a worker of the version
before, started anew, still finds its entries.  What gets replaced is kept for the way back.  Prints one line
``EVENKEEL {json}``.  It is sent as text with ``published.py``, and may import nothing but Django and the standard library.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from .published import drop, dump, files_in, has_list, install, keep, load, prune, write_list


def restore(root: str, revision: str = "") -> dict[str, Any]:
    """Put back what the last publication replaced; with a revision, only if it was the one published last."""
    ours = os.path.join(root, ".evenkeel")
    own, before = os.path.join(ours, "own.json"), os.path.join(ours, "own-before.json")
    backup, unfinished = os.path.join(ours, "before"), os.path.join(ours, "unfinished")
    # Whoever goes back knows the revision, and not from which image of a tag it was published.
    published_last = str(load(own).get("revision") or "").partition("+")[0]
    if revision and published_last != revision.partition("+")[0] and not os.path.exists(unfinished):
        return {"changed": False, "files": 0}
    kept = files_in(backup)
    for relative in kept:
        install(os.path.join(backup, relative), os.path.join(root, relative))
    if os.path.exists(before):
        # Empty before the first publication: then none is published any more, and the next one starts anew.
        os.replace(before, own)
    drop(unfinished)
    shutil.rmtree(backup, ignore_errors=True)
    return {"changed": bool(kept), "files": len(kept)}


def _begin(ours: str, own: Any) -> None:
    """Get ready to replace files; where a run was killed half-way, what it kept is the way back of this one too."""
    before, unfinished = os.path.join(ours, "own-before.json"), os.path.join(ours, "unfinished")
    if os.path.exists(unfinished) and os.path.exists(before):
        return
    drop(before)
    shutil.rmtree(os.path.join(ours, "before"), ignore_errors=True)
    dump(before, own)
    with open(unfinished, "w", encoding="utf-8"):
        pass


def _collect(staging: str) -> str:
    """Run ``collectstatic`` into a folder of its own and return the name of the manifest, empty without one."""
    from django.conf import settings
    from django.contrib.staticfiles import storage
    from django.core.files import storage as files
    from django.core.management import call_command
    from django.utils.functional import empty

    shutil.rmtree(staging, ignore_errors=True)
    os.makedirs(staging)
    settings.STATIC_ROOT = staging
    # An app that asked for a static file while it was loaded has made a storage of the live folder already.
    if hasattr(files, "storages"):
        files.storages._storages.pop("staticfiles", None)
    storage.staticfiles_storage._wrapped = empty
    call_command("collectstatic", interactive=False, verbosity=0)
    return str(getattr(storage.staticfiles_storage, "manifest_name", ""))


def publish(root: str, revision: str, release: str = "", living: Sequence[str] = ()) -> dict[str, Any]:
    """Collect into a folder beside, then move file by file; what fails half-way is put back.

    :param living: the releases that there still are: files that only others have had go.
    """
    ours = os.path.join(root, ".evenkeel")
    staging, unfinished = os.path.join(ours, "staging"), os.path.join(ours, "unfinished")
    own = load(os.path.join(ours, "own.json"))
    changed, removed = 0, []
    try:
        fresh = not revision or own.get("revision") != revision
        # Without a list of its own a release could lose its files to the end of another one of the same revision.
        if fresh or (release and not has_list(root, "static", release)):
            # The web server has no business in there.
            os.makedirs(ours, mode=0o700, exist_ok=True)
            manifest_name = _collect(staging)
            if release:
                write_list(root, "static", release, files_in(staging))
        if fresh:
            _begin(ours, own)
            changed = _move(root, staging, manifest_name, own, revision)
            removed = prune(root, [*living, release] if living else ())
    except Exception:
        if os.path.exists(unfinished):
            restore(root)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    drop(unfinished)
    return {"changed": changed > 0, "files": changed, "removed": len(removed)}


def _move(root: str, staging: str, manifest_name: str, own: Any, revision: str) -> int:
    ours = os.path.join(root, ".evenkeel")
    backup = os.path.join(ours, "before")
    changed = 0
    for relative in files_in(staging):
        source, live = os.path.join(staging, relative), os.path.join(root, relative)
        if relative == manifest_name or (os.path.exists(live) and filecmp.cmp(source, live, shallow=False)):
            continue
        keep(live, backup, relative)
        install(source, live)
        changed += 1
    fresh = load(os.path.join(staging, manifest_name)) if manifest_name else {}
    if fresh:
        live = os.path.join(root, manifest_name)
        present = load(live)
        earlier = own.get("paths") or present.get("paths") or {}
        merged = dict(fresh, paths={**earlier, **fresh.get("paths", {})})
        if merged != present:
            keep(live, backup, manifest_name)
            dump(live, merged)
            changed += 1
    dump(os.path.join(ours, "own.json"), {"revision": revision, "paths": fresh.get("paths", {})})
    return changed


def main(state: str, revision: str, release: str = "", living: Sequence[str] = ()) -> None:
    """Do what was asked for and print the result."""
    from django.conf import settings

    root = str(settings.STATIC_ROOT or "")
    backend = (getattr(settings, "STORAGES", None) or {}).get("staticfiles", {}).get("BACKEND", "")
    result: dict[str, Any] = {"changed": False, "files": 0, "removed": 0, "root": root, "backend": backend}
    if root:
        result.update(restore(root, revision) if state == "restored" else publish(root, revision, release, living))
    sys.stdout.write("\nEVENKEEL " + json.dumps(result) + "\n")
