# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of an app on its server: the one place that knows their names."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from .choice import is_id

#: The link to what users get, and the one to what is looked at before they do; folders below ``app_root``.
CURRENT, NEXT = "current", "next"
RELEASES, SHARED, MIRROR, MOUNTS = "releases", "shared", "mirror.git", "mounts"
_STATE = ".evenkeel"


@dataclass(frozen=True)
class Layout:
    """Paths below ``app_root``.

    :ivar root: ``app_root``, absolute.
    """

    root: str

    @property
    def releases(self) -> str:
        """A folder per release."""
        return posixpath.join(self.root, RELEASES)

    def release(self, release: str) -> str:
        """The folder of one release."""
        return posixpath.join(self.releases, release)

    def link(self, name: str = CURRENT) -> str:
        """The link to a release."""
        return posixpath.join(self.root, name)

    @property
    def mirror(self) -> str:
        """The bare clone of the app's repository."""
        return posixpath.join(self.root, MIRROR)

    @property
    def shared(self) -> str:
        """Files that belong to the server, which each release gets by a link."""
        return posixpath.join(self.root, SHARED)

    def shared_path(self, path: str) -> str:
        """One of these, by its path in a release."""
        return posixpath.join(self.shared, path)

    @property
    def proxy(self) -> str:
        """The configuration that proxies mount, at a path that stays."""
        return self.shared_path("proxy")

    @property
    def mounts(self) -> str:
        """Copies of mounted files of the tree, by their content."""
        return posixpath.join(self.root, MOUNTS)

    @property
    def former_state_dir(self) -> str:
        """Where locks and records were kept formerly."""
        return posixpath.join(self.root, _STATE)


def shared_link(path: str) -> str:
    """What the link to a shared file says, seen from the file's place in a release."""
    return posixpath.join(*[".."] * (path.count("/") + 2), SHARED, path)


def release_in(folder: str) -> tuple[Layout, str] | None:
    """The app and the id of the release whose folder it is; None where it is no release's."""
    above, release = posixpath.split(posixpath.normpath(folder))
    if posixpath.basename(above) != RELEASES or not is_id(release):
        return None
    return Layout(posixpath.dirname(above)), release
