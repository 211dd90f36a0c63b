# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that come with a call: the action of ``hotfix_patch`` has read them on the controller."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.options import read

#: The argument of modules that take some (fragment ``hotfix``).
FILES_SPEC: dict[str, Any] = {
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "src": {"type": "path"},
            "content": {"type": "str", "no_log": True},
        },
    },
}


@dataclass(frozen=True)
class GivenFiles:
    """Files with their contents, each as the argument spec names them: ``path``, and ``content`` in base64 (None: there is none)."""

    files: tuple[Mapping[str, Any], ...] = ()


def given_files(params: Mapping[str, Any]) -> GivenFiles:
    """The files that a module was given."""
    return read(GivenFiles, FILES_SPEC, params)


def content_of(entry: Mapping[str, Any]) -> bytes:
    """The content of one of ``files``.

    :raises BadInput: it has none.
    """
    path = str(entry["path"])
    if entry.get("content") is None:
        raise BadInput(
            f"{path}: nothing says what it is to be", "give src, which is read on the controller, or content"
        )
    return decoded(path, str(entry["content"]))


def decoded(what: str, text: str) -> bytes:
    """Content that came in base64.

    :raises BadInput: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{what}: its content is no base64", "give src, which is read on the controller") from error
