# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changed variables of the server's own environment file: in the hotfix's release first, in ``shared/`` when it is the current one.

So a failure leaves nothing to put back. Both contents are kept in the release (0600), for the way back. No value leaves this host.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...base.host.directory_handles import open_file, open_folder, put_in_place, read_file
from ...base.host.files import replace_file
from ...engine import env_file
from ...releases.host.store import Store
from ...releases.layout import shared_link

_BEFORE, _AFTER = (os.path.join(".evenkeel", f"env-{word}") for word in ("before", "after"))


@dataclass(frozen=True)
class Change:
    """What becomes of the file: its path under ``shared/``, its contents before and after, the names that change."""

    path: str = ""
    before: bytes = b""
    after: bytes = b""
    names: tuple[str, ...] = field(default=())


def values_of(env: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The variables that are given.

    :param env: the ``name`` of each, and its ``value`` in base64.
    :raises BadInput: one that cannot be.
    """
    values: dict[str, str] = {}
    for entry in env:
        name = str(entry["name"])
        problem = env_file.problem_with_name(name)
        if problem:
            raise BadInput(problem, "correct hotfix_env and run the same command again")
        try:
            values[name] = base64.b64decode(str(entry.get("value") or ""), validate=True).decode("utf-8")
        except (binascii.Error, ValueError) as error:
            raise BadInput(f"{name}: its value is no text", "see hotfix_env") from error
    known_secrets.learn_variables(values.items())
    return values


def planned(store: Store, release: str, path: str, values: Mapping[str, str]) -> Change:
    """What the variables make of the file that a release has.

    :param path: of the file, in a release and under ``shared/``.
    :raises BadInput: there is none, or it cannot be changed.
    """
    if not values:
        return Change()
    try:
        before = read_file(os.path.join(store.path_of(release), path))
        after = env_file.with_values(before.decode("utf-8"), values).encode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} of the running release cannot be read: {type(error).__name__}", "set app_env_file"
        ) from error
    except env_file.BadEnvironment as error:
        raise BadInput(f"{path} cannot be changed: {error}", "correct that in shared/, and update") from error
    names = [n for n, v in values.items() if env_file.with_values(before.decode(), {n: v}) != _normal(before)]
    return Change(path, before, after, tuple(sorted(names))) if names else Change()


def undone(store: Store, release: str, name: str, about: Mapping[str, Any]) -> Change:
    """What takes the variables of a hotfix back to what they were before it.

    :param release: the one that serves.
    :param about: what the ledger has of the hotfix that is called ``name``.
    :raises BadInput: nobody knows that any more, or somebody changed them since.
    """
    names = [str(n) for n in (about.get("kinds") or {}).get("env") or ()]
    path, folder = str(about.get("env_file") or ""), store.path_of(str(about.get("release") or "none"))
    if not names:
        return Change()
    whole = "ansible-playbook evenkeel.deploy.rollback -e rollback_to=RELEASE"
    try:
        now = read_file(os.path.join(store.path_of(release), path))
        before, after = (read_file(os.path.join(folder, one)).decode("utf-8") for one in (_BEFORE, _AFTER))
        text = now.decode("utf-8")
        other = [
            n
            for n in names
            if env_file.lines_of(text, n) not in (env_file.lines_of(before, n), env_file.lines_of(after, n))
        ]
        wanted = env_file.with_lines(text, names, before)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"what {', '.join(names)} was before the hotfix {name} is not on this host any more",
            f"set them with hotfix_env; or go back to a release before it: {whole}",
        ) from error
    except env_file.BadEnvironment as error:
        raise BadInput(f"{path} cannot be changed: {error}", "correct that in shared/, and update") from error
    if other:
        raise BadInput(
            f"{', '.join(other)} of the hotfix {name} was changed again since",
            f"take the later hotfix back first, or set it with hotfix_env; or go back to a release before it: {whole}",
        )
    differs = [n for n in names if env_file.lines_of(text, n) != env_file.lines_of(before, n)]
    return Change(path, now, wanted.encode(), tuple(sorted(differs))) if differs else Change()


def _normal(content: bytes) -> str:
    return "\n".join(content.decode().splitlines()) + "\n"


def put_in(store: Store, release: str, change: Change) -> None:
    """Give a release that nobody uses yet a file of its own in the place of the link."""
    if change.names:
        for name, content in ((_BEFORE, change.before), (_AFTER, change.after), (change.path, change.after)):
            _write(os.path.join(store.path_of(release), name), content)


def is_still_own(store: Store, release: str, change: Change) -> bool:
    """Whether a release has the changed file itself, not the link to the server's, which is another one by now."""
    return not change.names or not os.path.islink(os.path.join(store.path_of(release), change.path))


def bring(store: Store, release: str) -> None:
    """Make the file of a release that has become the current one the server's own."""
    path = str((store.manifest(release).get("hotfix") or {}).get("env_file") or "")
    own = os.path.join(store.path_of(release), path)
    if not path or os.path.islink(own):
        return
    folder, name = os.path.split(own)
    with open_folder(folder) as inside:
        # Its owner may put a link there now, to what only root may read.
        with open_file(name, inside) as stream:
            _write(store.layout.shared_path(path), stream.read())
        link = f"{name}.{secrets.token_hex(4)}"
        os.symlink(shared_link(path), link, dir_fd=inside)
        put_in_place(inside, link, name)


def put_back(store: Store, left: str) -> None:
    """Undo what releases that are left did to the file, from ``left`` down to the current one, as far as nobody changed it since."""
    target, path, content = store.current(), "", b""
    before, seen = b"", set[str]()
    while left and left != target and left not in seen:
        seen.add(left)
        about = store.manifest(left).get("hotfix") or {}
        kept = [os.path.join(store.path_of(left), name) for name in (_AFTER, _BEFORE)]
        if about.get("env_file") and os.path.exists(kept[1]):
            if not path:
                path = store.layout.shared_path(str(about["env_file"]))
                before = content = read_file(path)
            content = read_file(kept[1]) if content == read_file(kept[0]) else content
        left = str(about.get("base_release") or "")
    if content != before:
        _write(path, content)


def _write(path: str, content: bytes) -> None:
    """Write a private file whole or not at all; one that is there keeps its owner and mode."""
    known = os.lstat(path) if os.path.isfile(path) and not os.path.islink(path) else None
    replace_file(path, content, known)
