# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping values of secret-looking variables, and credentials in addresses, out of what people are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .project import SECRET_NAME

_CREDENTIALS = re.compile(r"//[^/@\s]+@")


def without_secrets(text: str, service: Mapping[str, Any]) -> str:
    """A log without the values of the variables of a service (as resolved) whose names look secret."""
    environment = service.get("environment") or {}
    secret = [(key, str(value).replace("$$", "$")) for key, value in environment.items() if SECRET_NAME.search(key)]
    # The longest first: one may be part of another.
    for key, value in sorted(secret, key=lambda pair: len(pair[1]), reverse=True):
        if len(value) > 5 and value != "None":
            text = text.replace(value, f"<{key}>")
    return text


def without_credentials(words: str) -> str:
    """Words of others without what an address may carry."""
    return _CREDENTIALS.sub("//…@", words)
