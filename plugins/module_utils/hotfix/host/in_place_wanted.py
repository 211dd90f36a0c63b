# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What files of running containers are to become: the change as a commit on what runs, and tried before anybody has it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace

from ...base.errors import BadInput
from ...base.host.directory_handles import open_folder, write_below
from ...base.host.files import private_directory
from ...git.host import content as git_content
from ...git.host.git import Git
from ...operation.host.records import iso
from ...operation.host.timeline import Steps
from ...releases.host.plain_folder import is_plain_folder
from ...releases.host.store import Store
from .. import in_place as decide
from ..in_place import SEALED
from . import git_hotfixes, thin_image
from .check import checked
from .in_place_record import Entry, Record
from .patch import Found, Request, looked, source_of

_TRIED = "in-place-tried"
# What git is read with puts this where bytes are no UTF-8.
_NOT_UTF8 = "\ufffd".encode()


def mirror_of(store: Store) -> Git:
    """The mirror of the app's repository."""
    return Git(store.layout.mirror, store.owner)


@contextlib.contextmanager
def found_for(request: Request, store: Store, steps: Steps, check_mode: bool) -> Iterator[Found]:
    """What is asked for, looked at as for a sealed hotfix; in check mode its commit is gone afterwards.

    :raises BadInput: it is no hotfix.
    """
    if is_plain_folder(request.source.repo):
        raise BadInput(
            "app_repo is a plain folder without history, so nobody could say what a hotfix is based on",
            "change the folder, and update",
        )
    source, git = source_of(request), mirror_of(store)
    if not check_mode:
        yield looked(request, store, git, source, steps, True)
        return
    with git_hotfixes.private_to(git) as folder:
        yield looked(request, store, git_hotfixes.TriedGit(git, folder), source, steps, False)


def record_of(found: Found, known: Record | None) -> Record:
    """What is to be remembered of it, and what containers are compared with.

    :param known: the hotfix that is in running containers already.
    :raises BadInput: it cannot be put into running containers, or another one is there.
    """
    here = found.here
    problems = decide.objections(found.verdict, [h for several in found.homes.values() for h in several])
    if problems:
        raise BadInput("; ".join(problems), SEALED)
    if known and known.name != found.source.name:
        raise BadInput(
            f"the hotfix {known.name} ({', '.join(known.files)}) is in running containers already, and in no release",
            f"seal it: {known.command}; or take it back: ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={known.name}; "
            f"or make this one of it: the same command, with all its files, with -e hotfix_name={known.name}",
        )
    new = {c.path for c in found.changes if c.status == "A"}
    images = {}
    for base in sorted(found.affected):
        places = {p: at for p, at in found.places[base].items() if p in found.homes}
        entries = {at.path: _entry(found, p, at, p in new) for p, at in places.items()}
        for old in known.images.get(base, ()) if known else ():
            # What the hotfix was before it was this one goes back.
            entries.setdefault(old.path, replace(old, after=old.before))
        images[base] = tuple(entries[path] for path in sorted(entries))
    earlier = {*known.earlier, *(e.sum for several in known.images.values() for e in several)} if known else set()
    made = known.made if known and known.commit == found.commit else iso(time.time())
    return Record(
        found.source.name, here.revision, found.commit, here.release, made, time.time(), images,
        earlier=tuple(sorted(earlier - {""})),
    )  # fmt: skip


def _entry(found: Found, path: str, at: thin_image.Place, new: bool) -> Entry:
    given = found.source.files.get(path)
    after = given if given is not None else git_content.content_of(found.git, found.commit, path)
    before = None if new else thin_image.plain_file(found.here.path, path)
    # A colon would end the path where it is mounted to be tried.
    if after is None or (given is None and _NOT_UTF8 in after) or (before is None and not new) or ":" in at.path:
        raise BadInput(f"{path} cannot be put into running containers as it is", SEALED)
    return Entry(at.path, path, before, after, at.mode, at.uid, at.gid)


def tried(request: Request, found: Found, record: Record, steps: Steps) -> list[str]:
    """Have Django look at it in a container of its own, in which the files lie over those of the image; returns notes.

    Not in one that runs: what that may use of memory is what its users need.

    :raises BadInput: it would not work.
    """
    here, service = found.here, request.django_service
    folder = os.path.join(private_directory(request.lock.state_dir), _TRIED)
    entries = record.images.get(here.image_of(service), ()) if service in here.kinds else ()
    # A killed run may have left it.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        over = {e.path: os.path.join(folder, str(n)) for n, e in enumerate(entries) if e.after is not None}
        with open_folder(folder, make=0o700) as handle:
            for entry in entries:
                if entry.after is not None:
                    # Whoever the image runs as has to read it; nobody else comes through the folder.
                    write_below(handle, os.path.basename(over[entry.path]), entry.after, 0o644)
        with steps("check"):
            return checked(request.source, service, here, found.homes, here.project, here.path, over=over)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
