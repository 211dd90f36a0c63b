# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that name a Compose project, as in community.docker's docker_compose_v2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..base import options

PROJECT_SPEC: dict[str, dict[str, Any]] = {
    "project_src": {"type": "path", "required": True},
    "files": {"type": "list", "elements": "path", "default": []},
    "env_files": {"type": "list", "elements": "path", "default": []},
    "profiles": {"type": "list", "elements": "str", "default": []},
    "project_name": {"type": "str"},
}


@dataclass(frozen=True)
class ProjectOptions:
    """Which Compose project a call concerns."""

    project_src: str
    files: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    project_name: str = ""


def project_options(params: Mapping[str, Any]) -> ProjectOptions:
    """The project that a module was given."""
    return options.read(ProjectOptions, PROJECT_SPEC, params)
