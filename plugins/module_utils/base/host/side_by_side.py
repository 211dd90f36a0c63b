# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several acts at the same time, as one."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, TypeVar

_AT_ONCE = 16
_Result = TypeVar("_Result")


def all_of(acts: Mapping[str, Callable[[], _Result]]) -> dict[str, Future[_Result]]:
    """Do all of these, and return once every one has ended: none begins or goes on when its step and its lock are over."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {key: pool.submit(act) for key, act in acts.items()}
