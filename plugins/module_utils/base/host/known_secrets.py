# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets that this process has met, and every text without them.

Whoever resolves a project, inspects a container or reads a password tells them here. What leaves the process asks
:func:`masked`: results (``call_result``), records and journal (``records``), progress (``progress``), kept logs.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..masking import Mask
from ..secret_values import assignments, named_by, names_in, secret_parts, variables_of
from .directory_handles import open_file

#: Bytes of an environment file or a file of a secret; a larger one holds something else.
_LARGEST = 256 * 1024


@dataclass
class _Known:
    """What was told so far: secrets by what they are called, words that are none, and whose variables were seen."""

    values: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    seen: set[tuple[str, str]] = field(default_factory=set)
    #: Made anew where something was added since.
    mask: Mask | None = None

    def forget(self) -> None:
        """Begin anew, as another process does."""
        self.__dict__.update(_Known().__dict__)


_known = _Known()
#: Several threads look at an app side by side, and each learns and masks.
_one_at_a_time = threading.RLock()
#: For a process that ends several calls, as tests do.
forget = _known.forget


def learn_names(names: Iterable[str]) -> None:
    """Words that stay readable in every message."""
    with _one_at_a_time:
        _known.names |= set(names)
        _known.mask = None


def learn_variables(variables: Iterable[tuple[str, str]]) -> None:
    """Name and value of variables: which of them are secret is decided here."""
    with _one_at_a_time:
        fresh = [pair for pair in variables if pair not in _known.seen]
        _known.seen.update(fresh)
        for name, value in fresh:
            for part in secret_parts(name, value):
                _known.values.setdefault(part, name)
        _known.names |= named_by(fresh)
        _known.mask = None if fresh else _known.mask


def learn_environment(words: Iterable[str]) -> None:
    """``NAME=value`` words, as the engine tells the environment of a container.

    What a container prints is of the environment that it was made with, which the project may no longer have.
    """
    learn_variables((name, value) for name, _equals, value in (word.partition("=") for word in words))


def learn_project(project: Mapping[str, Any]) -> None:
    """A project as Compose resolves it, with the files of its secrets."""
    learn_names(names_in(project))
    learn_variables(variables_of(project))
    for key, definition in (project.get("secrets") or {}).items():
        content, variable = _text_of(str((definition or {}).get("file") or "")), (definition or {}).get("environment")
        learn_variables([(f"{key}_SECRET", content)] if content else [])
        with _one_at_a_time:
            learn_variables([(f"{name}_SECRET", value) for name, value in _known.seen if name == variable])


def learn_files(folder: str, paths: Iterable[str]) -> None:
    """Environment files below a folder; what is none, or cannot be read, tells nothing."""
    for path in paths:
        learn_variables(assignments(_text_of(os.path.join(folder, path))))


def masked(data: Any) -> Any:
    """A text, or every text in a result, without any secret that is known."""
    with _one_at_a_time:
        mask = _known.mask = _known.mask or Mask(_known.values, _known.names)
    return mask.all(data)


def masked_text(text: str) -> str:
    """A text without any secret that is known."""
    return str(masked(text))


def _text_of(path: str) -> str:
    if not path:
        return ""
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8", errors="replace") as stream:
            return stream.read() if os.fstat(stream.fileno()).st_size <= _LARGEST else ""
    except OSError:
        return ""
