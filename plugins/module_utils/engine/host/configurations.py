# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configurations that ran, remembered by keyed hashes, so that a change can be told by its keys."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ...base.host.files import KEY, private_directory, read_json, secret_key, write_private
from ..change import changed_keys, fingerprint

_FOLDER = "configurations"


def keep(state_dir: str, services: Mapping[str, Mapping[str, Any]], hashes: Mapping[str, str]) -> None:
    """Remember the definitions of services under their configuration hashes.

    :raises OSError: a full disk.
    """
    key = secret_key(state_dir)
    folder = private_directory(os.path.join(state_dir, _FOLDER))
    for name, service in sorted(services.items()):
        text = json.dumps(fingerprint(service, key), indent=1, sort_keys=True)
        write_private(os.path.join(folder, f"{name}-{hashes[name]}.json"), text)


def keys_that_differ(state_dir: str, name: str, config_hash: str, service: Mapping[str, Any]) -> list[str] | None:
    """What differs between the configuration with that hash and a definition, the image left out; None: not recorded."""
    recorded = read_json(os.path.join(state_dir, _FOLDER, f"{name}-{config_hash}.json"))
    if not recorded or not os.path.isfile(os.path.join(state_dir, KEY)):
        return None
    return [k for k in changed_keys(recorded, fingerprint(service, secret_key(state_dir))) if k != "image"]


def makes_the_same(state_dir: str, name: str, config_hash: str, service: Mapping[str, Any]) -> bool:
    """Whether a container with that hash differs from a definition by its image at most, as far as is recorded.

    Compose up to 2.26 counts ``depends_on`` in, of which no container knows.
    """
    return keys_that_differ(state_dir, name, config_hash, service) == []
