# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of hotfix a set of changed files is, and what is none: pure, files and images are read in ``host/``."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.programs import JOB, PROXY, SCHEDULER, WEB, WORKER
from ..engine.services import ROLLED_KINDS, unsaid
from ..git.changes import (
    Change,
    is_aside,
    is_asset,
    is_compose_file,
    is_migration,
    is_recipe,
    names_packages,
)
from ..releases.choice import BACKEND

#: The other kinds; each is brought to users in its own way.
STATIC, NGINX, FRONTEND = "static", "nginx", "frontend"
KINDS = (BACKEND, STATIC, NGINX, FRONTEND)
#: Where a file lives: in an image's layers, mounted out of the tree by who runs it or by a proxy, or below a volume.
IMAGE, MOUNT, LIVE, VOLUME = "image", "mount", "live", "volume"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Seconds for which a new web container is asked, and then watched, whose code serves already.
_SAME_CODE = {"prove_seconds": 1.0, "monitor": 1.0}
#: What to run instead of a hotfix.
UPDATE = "ansible-playbook evenkeel.deploy.update -e update_version={}"
_BINARY = "binary: a hotfix is text, or a picture, font, document or sound of static files or of a front end"


@dataclass(frozen=True)
class Home:
    """One place where a file of the revision is: ``kind`` is that of the service, ``path`` the one in its container."""

    where: str
    service: str
    kind: str
    path: str


@dataclass(frozen=True)
class Limits:
    """What still is small: changed files, added and removed lines, hotfixes on one another (0 for no bound)."""

    files: int = 20
    lines: int = 400
    chain: int = 5

    def text(self) -> str:
        """As people read what is small."""
        files, lines = (f"up to {n}" if n else "any number of" for n in (self.files, self.lines))
        return f"{files} files and {lines} lines (hotfix_limits) are a hotfix"


@dataclass(frozen=True)
class Refusal:
    """Why something is no hotfix: ``key`` names the reason, ``command`` is what to run instead."""

    key: str
    what: str
    command: str


@dataclass(frozen=True)
class Verdict:
    """Kind → the files that make it so; the services whose containers are replaced; why it is none.

    ``jobs`` build a front end from them. ``spared`` are services that have the files and neither serve them nor are replaced.
    """

    kinds: Mapping[str, tuple[str, ...]]
    services: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()

    def text(self) -> str:
        """All reasons, each with what to run instead."""
        return "\n".join(f"  {r.what}; instead: {r.command}" for r in self.refusals)


def problem_with_name(name: str) -> str:
    """Why a hotfix cannot be called that, empty when it can: it becomes a branch, a label and a file's name."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((".lock", ".")):
        return f"{name!r} cannot be the name of a hotfix: letters, digits, dots, dashes and underscores, at most 64"
    return ""


def free_name(name: str, taken: Collection[str]) -> str:
    """A name that is not taken: this one, or with a number after it."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    return next(one for one in numbered if one not in taken)


def problem_with_path(path: str, shared: Iterable[str] = ()) -> str:
    """Why a path cannot be one of the repository's files, empty when it can.

    :param shared: paths that are the server's own.
    """
    parts = path.split("/")
    if not path or re.search(r"[\x00-\x1f\x7f]", path):
        return f"{path!r} is no path of a file"
    if path.startswith("/"):
        return f"{path} is absolute: write it from the top of the repository"
    if "\\" in path or {"", ".", ".."} & set(parts):
        return f"{path} is not written plainly from the top of the repository (no .., . or empty part)"
    if len(path) > 1024 or any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
        return f"{path[:60]}… is too long"
    if any(part.lower().rstrip(". ") == ".git" for part in parts):
        return f"{path} is git's own"
    if parts[0].startswith(".evenkeel"):
        return f"{path} is where a release keeps its own record"
    if any(path == own or path.startswith(f"{own}/") for own in shared):
        return f"{path} is the server's own and not in the repository"
    return ""


def problem_with_content(
    path: str,
    old: bytes | None,
    new: bytes,
    others: Collection[str] = (),
    largest: int = 1024 * 1024,
    size: int | None = None,
) -> str:
    """Why a file's new content is refused, empty when it is not.

    :param old: what it replaces, None for a new file.
    :param others: what is changed with it.
    :param largest: bytes.
    :param size: bytes, where ``new`` was read as text and has another length.
    """
    size = len(new) if size is None else size
    if size > largest:
        return f"{path} has {size // 1024} KiB, more than {largest // 1024}"
    if is_compiled_translation(path, others) or is_asset(path):
        return ""
    if b"\0" in new:
        return f"{path} is {_BINARY}"
    if b"\r\n" in new and b"\r\n" not in (old or b""):
        return f"{path} has ends of lines as Windows writes them (CRLF), and had none before"
    return ""


def problem_with_patch(text: str) -> str:
    """Why a patch is refused before git sees it, empty when it is not."""
    if "\0" in text or re.search(r"^(?:GIT binary patch|Binary files .* differ)\r?$", text, re.M):
        return "the patch has binary files, and is read as text: give them as hotfix_files or hotfix_ref"
    if not re.search(r"^(?:diff --git |--- )", text, re.M):
        return "it is no patch: there is no line that begins with diff --git or ---"
    if re.search(r"^(?:rename|copy) (?:from|to) ", text, re.M):
        return "the patch renames or copies files, which a hotfix does not"
    return ""


def judge(
    changes: Sequence[Change],
    homes: Mapping[str, Sequence[Home]],
    limits: Limits = Limits(),
    chain: int = 0,
    named: bool = True,
    compose_files: Sequence[str] = (),
    version: str = "BRANCH",
    forced: bool = False,
    sources: Mapping[str, Collection[str]] | None = None,
    unbuildable: Mapping[str, Refusal] | None = None,
    collector: str = "",
) -> Verdict:
    """Say what the changed files are, and why they are no hotfix.

    :param homes: for each path where it lives; a path without one is in no container.
    :param chain: hotfixes that the running release has on itself already.
    :param named: whether somebody named each file; of a branch some may be of no concern to any container.
    :param compose_files: the project's own, whatever they are called.
    :param version: what to update to instead.
    :param forced: what is merely large is taken.
    :param sources: path → the jobs that build a front end from it; ``unbuildable``: path → why none can.
    :param collector: the service that static files are collected in.
    """
    built, paths = sources or {}, {c.path for c in changes}
    update = UPDATE.format(version)
    refusals, notes, aside = [], [], []
    kinds: dict[str, list[str]] = {}
    for change in sorted(changes, key=lambda c: c.path):
        refusal = _no_file_of_a_hotfix(change, compose_files, paths, update) or (unbuildable or {}).get(change.path)
        places = homes.get(change.path) or ()
        if refusal:
            refusals.append(refusal)
        elif not places and not named and is_aside(change.path):
            aside.append(change.path)
        elif not places:
            what = f"{change.path} is in no container of this app as the revision has it"
            refusals.append(Refusal("nowhere", what, update))
        else:
            found = [_kind_at(change.path, home, update, built.get(change.path) or ()) for home in places]
            refusals += [refusal for _kind, refusal in found if refusal]
            mine = dict.fromkeys(kind for kind, _refusal in found if kind)
            if STATIC in mine and change.path.endswith(".py"):
                # It may be a file to download, or of a package that is called so.
                mine[BACKEND] = None
            if change.added < 0 and is_asset(change.path) and not set(mine) <= {STATIC, FRONTEND}:
                refusals.append(Refusal("binary", f"{change.path} is {_BINARY}", update))
            for kind in mine:
                kinds.setdefault(kind, []).append(change.path)
            if not mine and not any(refusal for _kind, refusal in found):
                jobs = " and ".join(sorted({home.service for home in places}))
                what = f"{change.path} is in {jobs} alone, which builds nothing that is served and which only an update runs"
                refusals.append(Refusal("job", what, update))
    refusals += _too_much(changes, limits, chain, update, forced)
    if not changes:
        refusals.append(
            Refusal("nothing", "nothing is changed by it", "see whether it is in the running version already")
        )
    elif not kinds and not refusals:
        refusals.append(Refusal("nothing", f"no container has any of it: {', '.join(aside)}", update))
    if aside:
        notes.append(f"in no container, and kept for the repository: {', '.join(aside)}")
    if FRONTEND in kinds:
        notes.append(f"built from {len(changes)} changed files and {_lines(changes)} lines; {limits.text()}")
    mine_of = [h for p in (*kinds.get(BACKEND, ()), *kinds.get(STATIC, ())) for h in homes[p]]
    spared = _spared(kinds, homes, collector)
    if spared:
        notes.append(f"not replaced, since workers and schedulers serve no static files: {', '.join(spared)}")
    services = {h.service for h in mine_of if h.kind in ROLLED_KINDS} - set(spared)
    jobs_due = {job for p in kinds.get(FRONTEND, ()) for job in built[p]}
    return Verdict(
        {k: tuple(v) for k, v in kinds.items()}, tuple(sorted(services)), tuple(_once(refusals)), tuple(notes),
        tuple(sorted(jobs_due)), spared,
    )  # fmt: skip


def _spared(kinds: Mapping[str, Sequence[str]], homes: Mapping[str, Sequence[Home]], collector: str) -> tuple[str, ...]:
    """Workers and schedulers that a hotfix of static files alone leaves as they are.

    One that mounts the files gets another mount with them, so its definition changes all the same.
    """
    if not static_alone(kinds) or not all(any(h.kind == WEB for h in homes[p]) for p in kinds[STATIC]):
        return ()
    mine = [h for p in kinds[STATIC] for h in homes[p]]
    elsewhere = {h.service for h in mine if h.where != IMAGE} | {collector}
    return tuple(sorted({h.service for h in mine if h.kind in (WORKER, SCHEDULER)} - elsewhere))


def static_alone(kinds: Collection[str]) -> bool:
    """Whether new containers have the code and the variables that serve already."""
    return set(kinds) == {STATIC}


def options_of_roll(
    kinds: Collection[str],
    web: Iterable[str],
    definitions: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """``service_options`` for the roll of a hotfix: with the code that serves already a web service is proven for less time.

    :param web: the web services that are replaced.
    :param definitions: service → what Compose has of it.
    :param options: ``service_options`` as they are given; what they or the definition say of the time counts.
    """
    if not static_alone(kinds):
        return dict(options)
    own = {service: options.get(service) or {} for service in web}
    shorter = {s: {**said, **unsaid(_SAME_CODE, definitions.get(s) or {}, said)} for s, said in own.items()}
    return {**options, **shorter}


def _once(refusals: Sequence[Refusal]) -> list[Refusal]:
    return list(dict.fromkeys(refusals))


def is_compiled_translation(path: str, others: Collection[str]) -> bool:
    """Whether a file is what a catalogue of gettext among ``others`` is compiled to: binary, and no person's work."""
    return path.endswith(".mo") and f"{path[:-3]}.po" in others


def _no_file_of_a_hotfix(
    change: Change, compose_files: Sequence[str], others: Collection[str], update: str
) -> Refusal | None:
    """Why this file's change is never one, wherever it lives."""
    path = change.path
    if change.status == "D":
        what = f"{path} is taken away: a hotfix puts files over others and can take none away"
        return Refusal("removal", what, update)
    if not change.is_plain:
        return Refusal("kind of file", f"{path} is no plain file (a link or a submodule)", update)
    if is_migration(path):
        return Refusal("migration", f"{path} is a migration, which has to run beside the code that serves", update)
    if is_compose_file(path, compose_files):
        return Refusal("compose file", f"{path} says what runs: services may be new, gone or other ones", update)
    if names_packages(path):
        return Refusal("dependencies", f"{path} names packages, which only a build installs", update)
    if is_recipe(path):
        return Refusal("build", f"{path} says how images are built", update)
    if change.added < 0 and not (is_compiled_translation(path, others) or is_asset(path)):
        return Refusal("binary", f"{path} is {_BINARY}", update)
    return None


def _kind_at(path: str, home: Home, update: str, builders: Collection[str]) -> tuple[str, Refusal | None]:
    """The kind by one of its places, and why it is none; neither for a job that builds nothing and has what others have too."""
    if home.where == VOLUME:
        what = f"{path} lies below {home.path} of {home.service}, where a volume is mounted over what the image has"
        return "", Refusal("volume", what, update)
    if home.where == LIVE or home.kind == PROXY:
        if home.where == LIVE and home.path.startswith("/etc/nginx"):
            return NGINX, None
        what = f"{path} is served by {home.service} itself, or in its image: a front end, which is published with its build"
        return "", Refusal(FRONTEND, what, update)
    if home.kind == JOB:
        return (FRONTEND if home.service in builders else ""), None
    if home.kind not in ROLLED_KINDS:
        return "", Refusal("service", f"{path} is in {home.service}, a {home.kind}, which is not replaced", update)
    folders = path.split("/")[:-1]
    return (STATIC if "static" in folders and "templates" not in folders else BACKEND), None


def _lines(changes: Sequence[Change]) -> int:
    return sum(max(0, c.added) + max(0, c.removed) for c in changes)


def _too_much(changes: Sequence[Change], limits: Limits, chain: int, update: str, forced: bool) -> list[Refusal]:
    found = []
    lines = _lines(changes)
    also = f"{update} (or hotfix_allow_large=true, which is recorded)"
    if limits.files and len(changes) > limits.files and not forced:
        found.append(Refusal("large", f"{len(changes)} files are changed, more than {limits.files}", also))
    if limits.lines and lines > limits.lines and not forced:
        found.append(Refusal("large", f"{lines} lines are changed, more than {limits.lines}", also))
    if limits.chain and chain >= limits.chain:
        what = f"{chain} hotfixes lie on one another already: an update to a version that has them is due"
        found.append(Refusal("chain", what, update))
    return found


def places_in_image(path: str, folder: str) -> list[str]:
    """Where in an image a file of the tree may be, the likeliest first: whoever asks compares contents.

    :param path: in the tree.
    :param folder: the image's working folder.
    """
    parts = path.split("/")
    ends = ["/".join(parts[i:]) for i in range(len(parts))]
    tops = dict.fromkeys([folder.rstrip("/") or "/", "/app", "/code", "/src", "/usr/src/app", "/srv", "/"])
    found = [posixpath.join(top, end) for end in ends for top in list(tops)[:1]]
    found += [posixpath.join(top, parts[0] if len(parts) == 1 else "/".join(parts)) for top in list(tops)[1:]]
    return list(dict.fromkeys(found))


def neighbours(path: str, tree: Iterable[str], most: int = 12) -> list[str]:
    """Files of the tree by which the folder of a new file is found in an image, the likeliest first.

    They are those of the nearest folder that has any: where an image has none of them, it has nothing of that folder.
    """
    folder, known = posixpath.dirname(path), sorted(tree)
    while True:
        inside = f"{folder}/" if folder else ""
        there = [p for p in known if p.startswith(inside)]
        if there or not folder:
            return sorted(there, key=lambda p: (p.count("/"), posixpath.basename(p).startswith("."), p))[:most]
        folder = posixpath.dirname(folder)


def folder_of_new(path: str, neighbour: str, at: str) -> str:
    """Where a new file goes, by where a neighbour of the tree is in the image; empty where that does not tell.

    :param at: the neighbour's path in the container.
    """
    base = posixpath.dirname(neighbour)
    inside = f"{base}/" if base else ""
    if not path.startswith(inside) or posixpath.basename(neighbour) != posixpath.basename(at):
        return ""
    return posixpath.join(posixpath.dirname(at), path[len(inside) :])
