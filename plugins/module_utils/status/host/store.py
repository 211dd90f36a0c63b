# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What files of this host tell of an app: releases, lock, records, backups, room.  Nothing is made, not even a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ...backup.host.store import BackupStore
from ...base.host.clock import lives, now
from ...base.host.files import read_json
from ...hotfix.host import in_place_record, ledger
from ...hotfix.public_paths import public_paths
from ...operation import lease
from ...operation.host.records import Journal, Records, iso
from ...operation.lease import Lock
from ...releases import choice
from ...releases.host.image_archive import Archive, is_being_written
from ...releases.host.store import Store
from ..findings import Holder

# Of a record and of a manifest what is told: the rest is long, or only of use to modules.
_OF_RECORD = (
    "run", "number", "who", "playbook", "app", "target", "revision", "release", "goal", "started", "seconds", "result", "reason",
    "go_back", "taken_over_by", "undone",
)  # fmt: skip
_OF_MANIFEST = ("id", "revision", "version", "state", "pinned", "came_back")
_LAST = 20


class Unseen(Exception):
    """Something cannot be looked at; the message says why."""


def _refuse_closed(folder: str) -> None:
    try:
        os.stat(folder)
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise Unseen(f"no permission to read {folder}; run with become: true") from error
    if not os.access(folder, os.R_OK | os.X_OK):
        raise Unseen(f"no permission to read {folder}; run with become: true")


def releases_of(store: Store) -> list[dict[str, Any]]:
    """The releases that there are, the newest first.

    :raises Unseen: no permission.
    """
    _refuse_closed(store.folder)
    found = []
    for release in sorted(store.all(), key=lambda r: r.id, reverse=True):
        manifest = store.manifest(release.id)
        verified = float(manifest.get("verified") or 0)
        if manifest.get("asked") is False and manifest.get("state") == choice.VERIFIED:
            # It went through every step, and nobody asked the site: there was no address to ask it by.
            manifest, verified = {**manifest, "state": f"{choice.ACTIVE}, not asked"}, 0.0
        report = {key: manifest[key] for key in _OF_MANIFEST if key in manifest}
        found.append({**report, "id": release.id, "verified_at": iso(verified) if verified else ""})
    return found


def holder_of(state_dir: str) -> Holder:
    """Who has the lock.

    :raises Unseen: no permission.
    """
    _refuse_closed(state_dir)
    path = os.path.join(state_dir, "lock")
    if os.path.exists(path) and not os.access(path, os.R_OK):
        raise Unseen(f"no permission to read {path}; run with become: true")
    lock = lease.from_json(read_json(path)) or Lock(
        number=Journal(os.path.join(state_dir, "journal.jsonl")).highest_number()
    )
    moment, sign = now(), lock.renewed
    same_boot = sign.boot == moment.boot
    quiet = moment.uptime - sign.uptime if same_boot else max(0.0, moment.wall - sign.wall)
    return Holder(lock, lives(lock.process), lease.remaining(lock, moment), quiet, lock.held and not same_boot)


def records_of(state_dir: str) -> list[dict[str, Any]]:
    """The last operations, the newest first, with those of their steps that did something."""
    folder = os.path.join(state_dir, "operations")
    _refuse_closed(folder)
    names = sorted(os.listdir(folder), reverse=True) if os.path.isdir(folder) else []
    found = []
    for name in [n[: -len(".json")] for n in names if n.endswith(".json")][:_LAST]:
        record = Records(state_dir).read(name)
        if record:
            found.append({key: record[key] for key in _OF_RECORD if key in record})
    return found


def pending_undo_of(state_dir: str, lock: Lock) -> dict[str, Any]:
    """The record of the operation whose way back has not ended, empty for none."""
    record = Records(state_dir).read(lock.pending_undo) if lock.pending_undo else {}
    before = record.get("before") or {}
    report = {key: record[key] for key in _OF_RECORD if key in record}
    return (
        {**report, "before": {"release": before.get("release"), "revision": before.get("revision")}} if record else {}
    )


def hotfixes_of(store: Store, state_dir: str) -> list[dict[str, Any]]:
    """The hotfixes that production has beside its last update: those of its release first, then those beside it.

    :raises Unseen: no permission.
    """
    _refuse_closed(os.path.join(state_dir, "hotfixes"))
    found = []
    for one in ledger.in_force(store):
        known = ledger.read(state_dir, one.name)
        kinds = known.get("kinds") or {}
        # Of variables there are only names.
        paths = [str(p) for p in (*(known.get("files") or ()), *(kinds.get("env") or ()))]
        about = {
            "revision": one.commit,
            "made": known.get("made") or "",
            "public_paths": [str(p) for p in known.get("public_paths") or []],
        }
        found.append({"name": one.name, "kinds": sorted(kinds), "files": paths, **about})
    beside = {**ledger.placed(store, state_dir), **ledger.of_databases(state_dir)}
    for name, known in beside.items():
        paths = sorted(known.get("sums") or {})
        found.append(
            {
                "name": name,
                "kinds": [str(known.get("kind"))],
                "revision": "",
                "files": paths,
                "made": known.get("made") or "",
                "public_paths": public_paths({str(known.get("kind")): paths}),
            }
        )
    record = in_place_record.in_force(store, state_dir)
    if record:
        goes_back = record.goal == in_place_record.REVERTED
        report = {"name": record.name, "kinds": ["in place"], "revision": record.commit, "files": record.files}
        report = {**report, "made": record.made, "public_paths": []}
        found.append({**report, "seal": record.command, "goes_back": goes_back, "lacking": []})
    return found


def is_being_archived(store: Store, state_dir: str, release: str) -> bool:
    """Whether the archive of a release is being written.

    :raises Unseen: no permission.
    """
    _refuse_closed(Archive(store.path_of(release)).folder)
    _refuse_closed(state_dir)
    return is_being_written(store, state_dir, release)


def archived_of(tree: str) -> set[str]:
    """The names of the images that a release's archive has, as far as can be told without reading all of it.

    :raises Unseen: no permission.
    """
    archive = Archive(tree)
    _refuse_closed(archive.folder)
    return {str(name) for known in archive.whole().values() for name in known.get("names") or ()}


def backups_of(folder: str, app: str) -> list[dict[str, Any]]:
    """The backups of an app's databases, the newest first.

    :raises Unseen: no permission.
    """
    _refuse_closed(folder)
    store = BackupStore(folder, (app, "", ""))
    found = []
    for name in store.names():
        known = store.manifest(name)
        if known.get("project") == app:
            report = {key: known.get(key) for key in ("bytes", "database", "service", "releases")}
            started = float(known.get("started_at") or 0)
            found.append(
                {
                    **report,
                    "name": name,
                    "proven": str(known.get("proven") or ""),
                    "started": iso(started),
                    "at": started,
                }
            )
    return sorted(found, key=lambda b: float(b.pop("at")), reverse=True)


def disks_of(paths: Iterable[str]) -> list[dict[str, Any]]:
    """The file systems that these paths lie on, each once."""
    seen: dict[int, dict[str, Any]] = {}
    for path in paths:
        while path and path != "/" and not os.path.exists(path):
            path = os.path.dirname(path)
        try:
            device, about = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue
        size, free = about.f_blocks * about.f_frsize, about.f_bavail * about.f_frsize
        seen.setdefault(device, {"path": path, "free": free, "size": size})
    return list(seen.values())


def memory_of_host() -> Mapping[str, int]:
    """``total`` and ``available`` bytes."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        lines = dict(line.split(":", 1) for line in stream if ":" in line)
    return {
        name: int(lines.get(key, "0 kB").split()[0]) * 1024
        for name, key in (("total", "MemTotal"), ("available", "MemAvailable"))
    }
