# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder that is made once, and put back for each test as it was then: repositories and releases take many processes."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Restored(Generic[Made]):
    """What was made in a folder, for several tests.

    :param around: an empty folder of its own.
    :param make: makes it in the folder that it is given; what it returns knows that folder's path.
    """

    def __init__(self, around: Path, make: Callable[[Path], Made]) -> None:
        self._folder, self._kept = around / "folder", around / "kept"
        self._folder.mkdir()
        self._made = make(self._folder)
        shutil.copytree(self._folder, self._kept, symlinks=True)

    def __call__(self) -> Made:
        """Put the folder back at its path; what one test did to it no other sees."""
        shutil.rmtree(self._folder)
        shutil.copytree(self._kept, self._folder, symlinks=True)
        return copy.deepcopy(self._made)
