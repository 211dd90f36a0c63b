# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of the hotfix that was put into running containers: until it is sealed there is only one.

It holds of the release in whose containers it is: another release that becomes the current one has containers of its own.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...base.host.files import read_json, write_private
from ...drift.drift import Difference
from ...drift.host.container_edits import Edits, edit_text
from ...git.host import content as git_content
from ...git.host.git import Git, GitFailed
from ...releases.host.store import Store
from ..lost_hotfixes import Applied
from .thin_image import Place

APPLIED, REVERTED = "applied", "reverted"
_FILE = "in-place.json"
_TOLD = ("name", "base", "commit", "release", "made", "since", "goal", "reason", "earlier", "proven")


@dataclass(frozen=True)
class Entry:
    """One file: its path in the container and in the tree, what the image has there, and what is wanted; None for no file."""

    path: str
    tree: str
    before: bytes | None
    after: bytes | None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0

    @property
    def place(self) -> Place:
        """Where it goes in a container that does not run."""
        return Place(self.path, self.uid, self.gid, self.mode)

    @property
    def sum(self) -> str:
        """Of what is wanted, as drift tells it."""
        return sum_of(self.after)


def seal(name: str) -> str:
    """The command that makes a hotfix in place a release."""
    return f"ansible-playbook evenkeel.deploy.hotfix -e hotfix_capture=true -e hotfix_name={name}"


def sum_of(content: bytes | None) -> str:
    """SHA-256, empty for no file."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class There:
    """What is in one container: whether it has ``all`` of a hotfix, and the ``others``' changes."""

    all: bool
    others: tuple[Difference, ...]


@dataclass(frozen=True)
class Record:
    """One hotfix in place.

    :ivar goal: ``reverted`` where it is on its way back, ``reason`` is why, empty where somebody asked for it.
    :ivar since: when the goal became this one (UNIX time).
    :ivar images: by the name of an image the files in its containers.
    :ivar earlier: sums of what the same hotfix was before it was another one.
    :ivar proven: whether the site answered rightly when all of it was there, and nobody was led or held any more.
    """

    name: str
    base: str
    commit: str
    release: str
    made: str
    since: float
    images: Mapping[str, tuple[Entry, ...]]
    goal: str = APPLIED
    reason: str = ""
    earlier: tuple[str, ...] = ()
    proven: bool = False

    def knows(self, entry: Entry, there: bytes | None) -> bool:
        """Whether what is found for a file is of the image or of this hotfix, and nobody else's."""
        return there in (entry.before, entry.after) or sum_of(there) in self.earlier

    @property
    def files(self) -> list[str]:
        """Paths in the tree."""
        return sorted({e.tree for entries in self.images.values() for e in entries if e.before != e.after})

    def judged(self, image: str, differences: Sequence[Difference]) -> tuple[Difference, ...]:
        """What differs, with what this has written told as such: a container that was started again soon after has not."""
        mine = {(e.path, e.sum) for e in self.images.get(image, ())}
        return tuple(replace(d, at_start=False) if (d.path, d.after) in mine else d for d in differences)

    def there(self, image: str, differences: Sequence[Difference]) -> There:
        """What differs in a container of an image: whether all of this is in it, and what somebody else has changed."""
        wanted = {e.path: e.sum for e in self.images.get(image, ()) if e.before != e.after}
        mine = {d.path for d in differences if d.after and wanted.get(d.path) == d.after}
        return There(set(wanted) <= mine, tuple(d for d in differences if d.path not in mine))

    @property
    def command(self) -> str:
        """What makes it a release."""
        return seal(self.name)

    @property
    def advice(self) -> str:
        """What to do about its edits before their containers go; callers add what else may be done."""
        return f"they are the hotfix {self.name}, which is in running containers only; seal it first: {self.command}"


def _text(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode("ascii")


def _bytes(text: Any) -> bytes | None:
    return None if text is None else base64.b64decode(str(text), validate=True)


def read(state_dir: str) -> Record | None:
    """What is remembered, None where nothing is, or nothing that can be read."""
    known = read_json(os.path.join(state_dir, _FILE))
    try:
        images = {
            str(image): tuple(
                Entry(
                    str(e["path"]),
                    str(e["tree"]),
                    _bytes(e["before"]),
                    _bytes(e["after"]),
                    *(int(e[key]) for key in ("mode", "uid", "gid")),
                )
                for e in entries
            )
            for image, entries in known["images"].items()
        }
        name, base, commit, release, made = (str(known[key]) for key in ("name", "base", "commit", "release", "made"))
        goal, reason, earlier = str(known["goal"]), str(known["reason"]), tuple(str(one) for one in known["earlier"])
        proven = bool(known.get("proven"))
        return Record(name, base, commit, release, made, float(known["since"]), images, goal, reason, earlier, proven)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        return None


def write(state_dir: str, record: Record) -> None:
    """Remember it, with all contents, readable by its owner only.

    :raises OSError: a full disk.
    """
    images = {
        image: [{"path": e.path, "tree": e.tree, "before": _text(e.before), "after": _text(e.after), "mode": e.mode,
                 "uid": e.uid, "gid": e.gid}
                for e in entries]
        for image, entries in record.images.items()
    }  # fmt: skip
    report = {key: getattr(record, key) for key in _TOLD}
    write_private(os.path.join(state_dir, _FILE), json.dumps({**report, "images": images}, indent=1) + "\n")


def forget(state_dir: str) -> None:
    """Remember nothing: all is as the images have it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(state_dir, _FILE))


def in_force(store: Store, state_dir: str) -> Record | None:
    """The one that is, or should be, in the containers of the release that serves."""
    record = read(state_dir)
    return record if record and record.release and record.release == store.current() else None


def applied(store: Store, state_dir: str, revision: str) -> tuple[Applied, ...]:
    """The same as a hotfix that another revision may lack; the release that has it in its containers keeps them."""
    record = in_force(store, state_dir)
    if not record or record.goal != APPLIED or revision == record.base:
        return ()
    return (Applied(record.name, record.base, record.commit),)


def left_of(record: Record | None, git: Git, commit: str, edits: Edits, left: Sequence[str]) -> tuple[list[str], str]:
    """Of hand edits those that a commit has not, and what to do about them where they are a hotfix in place.

    :param left: the edits as they are told.
    """
    if record is None:
        return list(left), ""
    every = {e.path: e for entries in record.images.values() for e in entries}
    mine = {
        edit_text(found.name, d.path, d.change)
        for _inspection, found in edits.seen
        for d in found.differences
        if d.path in every and d.after == every[d.path].sum
    }
    with contextlib.suppress(GitFailed):
        if all((git_content.content_of(git, commit, e.tree) or b"") == (e.after or b"") for e in every.values()):
            return [report for report in left if report not in mine], ""
    if not mine & set(left):
        return list(left), ""
    back = f"ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={record.name}"
    return list(left), f"{record.advice}; or take it back: {back}"
