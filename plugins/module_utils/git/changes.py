# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that a commit changes, and what a file of a repository is by its path alone."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass

_DEPENDENCIES = re.compile(
    r"(?:requirements[^/]*\.(?:txt|in)|constraints[^/]*\.txt|Pipfile(?:\.lock)?|poetry\.lock|uv\.lock|pdm\.lock|pyproject\.toml"
    r"|setup\.(?:py|cfg)|environment\.ya?ml|package(?:-lock)?\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-(?:lock|workspace)\.yaml|bun\.lockb?"
    r"|deno\.lock|\.npmrc|\.yarnrc(?:\.yml)?|\.nvmrc|\.node-version)"
)
_RECIPE = re.compile(
    r"(?:Dockerfile.*|.*\.dockerfile|Containerfile.*|\.dockerignore|\.gitattributes|\.gitmodules)", re.I
)
_COMPOSE = re.compile(r"(?:docker-)?compose[^/]*\.ya?ml")
# What a commit may have beside the fix, and what runs nowhere.
_ASIDE = re.compile(
    r"(?:.*\.(?:md|rst)|LICENSE.*|CHANGELOG.*|\.gitignore|\.gitkeep|\.editorconfig|\.pre-commit-config\.yaml)"
)
_ASIDE_FOLDERS = {"docs", "doc", "tests", ".github", ".gitlab", "changelogs"}
_FILES = ("100644", "100755")
# Content that nothing runs: pictures, fonts, documents and sounds.
_ASSET = re.compile(
    r".*\.(?:png|jpe?g|gif|webp|avif|ico|cur|bmp|woff2?|ttf|otf|eot|pdf|mp3|mp4|m4a|ogg|wav|webm)", re.I | re.S
)


@dataclass(frozen=True)
class Change:
    """One file that a commit changes, as git tells it.

    :ivar status: git's letter: A, M, D or T.
    :ivar mode: after it, such as ``100644``; ``before`` that before it, ``000000`` where there was none.
    :ivar added: lines, -1 where git takes the file for binary; ``removed`` likewise.
    """

    path: str
    status: str = "M"
    mode: str = "100644"
    before: str = "100644"
    added: int = 0
    removed: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether it is a plain file now and was one before, and no link or submodule."""
        return (self.status == "D" or self.mode in _FILES) and (self.status == "A" or self.before in _FILES)


def is_asset(path: str) -> bool:
    """Whether a file is by its name a picture, a font, a document or a sound, which may be binary."""
    return bool(_ASSET.fullmatch(path))


def is_migration(path: str) -> bool:
    """Whether a file is one of Django's migrations, or of the folder that they are in."""
    return "migrations" in path.split("/")[:-1] and path.endswith(".py")


def is_compose_file(path: str, own: Collection[str] = ()) -> bool:
    """Whether a file says what Compose runs.

    :param own: the app's Compose files, whatever they are called.
    """
    return path in own or bool(_COMPOSE.fullmatch(posixpath.basename(path)))


def names_packages(path: str) -> bool:
    """Whether a file names packages that a build installs."""
    if re.search(r"(?:^|/)requirements/[^/]+\.(?:txt|in)$", path):
        return True
    return bool(_DEPENDENCIES.fullmatch(posixpath.basename(path)))


def is_recipe(path: str) -> bool:
    """Whether a file says how an image is built, or what of the repository it is built from."""
    return bool(_RECIPE.fullmatch(posixpath.basename(path)))


def is_aside(path: str) -> bool:
    """Whether a commit may have a file beside its purpose, and nothing runs it."""
    *folders, name = path.split("/")
    return bool(_ASIDE.fullmatch(name) or _ASIDE_FOLDERS & set(folders) or re.fullmatch(r"tests?(?:_.*)?\.py", name))
