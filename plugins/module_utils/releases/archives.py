# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the images of the release to go back to are written to a file as well: pure, ``releases/host/image_archive`` does it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

AUTO, ALWAYS, NEVER = "auto", "always", "never"
POLICIES = (AUTO, ALWAYS, NEVER)
_MIB = 2**20
#: Bytes that everybody else is left: whoever asks for it by name may have the disk nearly full.
_LEAST = {AUTO: 1024 * _MIB, ALWAYS: 256 * _MIB}


def spare(policy: str, total: int) -> int:
    """Bytes that are to be left free on the disk; with :data:`AUTO` a tenth of it at least.

    :param total: bytes of the whole disk.
    """
    return max(_LEAST.get(policy, 0), total // 10 if policy == AUTO else 0)


def no_room(policy: str, size: int, free: int, total: int) -> str:
    """Why images do not fit, empty where they do.

    :param size: bytes of the images as they are unpacked, more than which no archive of them takes.
    """
    left = spare(policy, total)
    if size + left <= free:
        return ""
    return f"{free // _MIB} MiB are free, the images have {size // _MIB} MiB, and {left // _MIB} MiB are to be left"


def to_archive(names: Mapping[str, str], used: Collection[str]) -> dict[str, list[str]]:
    """The images that only their names keep: id → names, the ones that a container has left out.

    :param names: of a release's images, each with the id that it means now, empty where it is not there.
    :param used: ids of images that containers have.
    """
    found: dict[str, list[str]] = {}
    for name, identity in sorted(names.items()):
        if identity and identity not in used:
            found.setdefault(identity, []).append(name)
    return found


def sentence(release: str, missing: Sequence[str], archived: int, problem: str, later: bool = False) -> str:
    """Whether the way back is really there.

    :param missing: names of images that are neither on the host nor in the archive.
    :param archived: bytes of the archive, 0 where there is none.
    :param problem: why there is none, or not all of it; ``later``: it is written after this was said.
    """
    if missing:
        return (
            f"the way back to {release} is not whole: {', '.join(missing)} is not on this host any more; "
            "an update to that revision builds it anew"
        )
    text = f"the images of {release} are on this host"
    if archived:
        text += f", and in an archive of {archived // _MIB + 1} MiB, which outlives docker system prune --all"
    if later:
        text += "; an archive of them, which outlives docker system prune --all, is written in the background"
    return f"{text}; {problem}" if problem else text
