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


def _normal(content: bytes) -> str:
    return "\n".join(content.decode().splitlines()) + "\n"


def put_in(store: Store, release: str, change: Change) -> None:
    """Give a release that nobody uses yet a file of its own in the place of the link."""
    if change.names:
        for name, content in ((_BEFORE, change.before), (_AFTER, change.after), (change.path, change.after)):
            _write(os.path.join(store.path_of(release), name), content)


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
    """Where a release that changed the file is left for the one before, and nobody has changed it since, undo that."""
    path = str((store.manifest(left).get("hotfix") or {}).get("env_file") or "")
    shared, folder = store.layout.shared_path(path), store.path_of(left)
    if not path or not os.path.exists(os.path.join(folder, _BEFORE)):
        return
    contents = [read_file(name) for name in (shared, os.path.join(folder, _AFTER), os.path.join(folder, _BEFORE))]
    if contents[0] == contents[1]:
        _write(shared, contents[2])


def _write(path: str, content: bytes) -> None:
    """Write a private file whole or not at all; one that is there keeps its owner and mode."""
    known = os.lstat(path) if os.path.isfile(path) and not os.path.islink(path) else None
    replace_file(path, content, known)
