# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``image_archive`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..operation.options import LOCK_SPEC, lock_options
from ..releases import archives
from ..releases.host import image_archive

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "release": {"type": "str"},
    "policy": {"type": "str", "choices": list(archives.POLICIES), "default": "auto"},
    "wait": {"type": "bool", "default": True},
}
SPEC: dict[str, Any] = {**LOCK_SPEC, **_OWN}
#: Compressing takes seconds of a processor that belongs to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return image_archive.keep_archive(read(image_archive.Request, _OWN, params, lock=lock_options(params)), check_mode)
