# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that is not on this host, from its registry, in a time that is bounded."""

from __future__ import annotations

import threading

from .engine import Engine, EngineFailed


def pull(engine: Engine, reference: str, timeout: float, login: tuple[str, str] | None = None) -> None:
    """Have an image on this host.

    :param reference: as ``docker pull`` takes it.
    :param timeout: seconds that it may take; the engine gives it up when this process ends.
    :param login: user name and password, for this question alone: it is written nowhere. Without it the engine's client takes
        what ``docker login`` has left with this user.
    :raises EngineFailed: it cannot be had, and why.
    """
    repository, tag = _parts(reference)
    auth = {"auth_config": {"username": login[0], "password": login[1]}} if login else {}
    said: list[str] = []

    def read() -> None:
        try:
            for part in engine.parts("pull", repository, tag=tag, stream=True, decode=True, **auth):
                if part.get("error"):
                    raise EngineFailed(str(part["error"]))
        except EngineFailed as error:
            said.append(" ".join(str(error).split())[:300])

    # The SDK waits for ever for a registry that says nothing.
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise EngineFailed(f"it was not there after {timeout:g} s")
    if said:
        raise EngineFailed(said[0])
    if not engine.image(reference):
        raise EngineFailed("another image came")


def _parts(reference: str) -> tuple[str, str]:
    """Repository and tag or digest: without one of them some versions of the SDK would have all tags there are."""
    name, _at, digest = reference.partition("@")
    folder, slash, last = name.rpartition("/")
    base, _colon, tag = last.partition(":")
    # Beside a digest a tag says nothing, and the engine takes one of them.
    return f"{folder}{slash}{base}", digest or tag or "latest"
