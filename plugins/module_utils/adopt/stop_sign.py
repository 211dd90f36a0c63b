# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that takes a Compose file's place in an adopted folder, so that Compose refuses whatever is called there."""

from __future__ import annotations

import posixpath

#: What a Compose file is called while a stop sign has its name.
SUFFIX = ".adopted"
_FIRST = "# Stop sign of evenkeel.deploy"
# Compose reads this before it looks at a container, and prints the text behind the question mark.  Nobody sets such a variable.
_VARIABLE = "EVENKEEL_STOP_SIGN"


def aside(path: str) -> str:
    """The name that a Compose file has while a stop sign has its own."""
    return path + SUFFIX


def is_sign(content: bytes) -> bool:
    """Whether this is what :func:`text` made."""
    return content.startswith(_FIRST.encode())


def text(path: str, project: str, root: str) -> str:
    """The stop sign for a Compose file: a service whose image cannot be named, with why.

    :param root: ``app_root``, where the app runs from now.
    """
    name = posixpath.basename(path)
    message = (
        f"nothing was changed. {_word(project)} is run by evenkeel from {_word(root)}/current. Deploy it by ansible-playbook "
        f"evenkeel.deploy.update. Look at it by docker compose -p {_word(project)} from another folder. Why is in {_word(name)}"
    )
    return f"""{_FIRST}: this app is not started from this folder any more.
# {root}/current is what runs. Compose would replace it by the old images from here, with a gap for users.
#
#   update it:         ansible-playbook evenkeel.deploy.update -e update_version=<version>
#   look at it:        cd / && docker compose -p {project} ps      (logs, exec, top: the same way)
#   undo this sign:    mv {name}{SUFFIX} {name}
services:
  evenkeel-stop-sign:
    image: "${{{_VARIABLE}:?{message}}}"
"""


def _word(text: str) -> str:
    """A name as it may stand in an interpolation in quotes."""
    return "".join(c for c in text if c not in '"\\{}$')
