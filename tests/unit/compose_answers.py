# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``docker compose config`` answers, asked once of the same definition and variables: each answer takes 0.1 s.

Of a project whose definition includes or extends another file the answer depends on more than is compared here.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose

_FOLDER = "/folder-of-the-project"
_known: dict[tuple[str, ...], str] = {}


def remember(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask Compose for the same configuration once only."""
    ask = Compose.run

    def run(compose: Compose, *words: str, **how: Any) -> str:
        if words[0] != "config" or not compose.files:
            return ask(compose, *words, **how)
        folder = compose.project_src
        files = [os.path.join(folder, path) for path in compose.files]
        texts = map(_text_of, (*files, *(os.path.join(folder, path) for path in compose.env_files or (".env",))))
        if "--hash" in words:
            # The hashes are of absolute paths as well; the definition is in a file that has another name each time.
            key = (*(word for word in compose.argv(*words) if word not in files), *texts)
            if key not in _known:
                _known[key] = ask(compose, *words, **how)
            return _known[key]
        # The same in whatever folder it lies.
        key = tuple(word.replace(folder, _FOLDER) for word in (*compose.argv(*words), *texts))
        if key not in _known:
            _known[key] = ask(compose, *words, **how).replace(folder, _FOLDER)
        return _known[key].replace(_FOLDER, folder)

    monkeypatch.setattr(Compose, "run", run)


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""
