# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Dockerfile says of the containers of its image: how they start, and which files of the tree they start with.

Read before an image is built; an image that is there says it itself. Instructions: docs.docker.com/reference/dockerfile.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))")
_SHELL = ["/bin/sh", "-c"]


@dataclass
class Recipe:
    """How containers of one stage start.

    :ivar base: the image that the stage comes from in the end; ``copied``: path in the image → path in the build context,
        of files and folders, the later over the earlier.
    """

    base: str = ""
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    exposed: list[str] = field(default_factory=list)
    copied: list[tuple[str, str]] = field(default_factory=list)

    @property
    def starts_itself(self) -> bool:
        """Whether it starts otherwise than the image that it comes from."""
        return bool(self.entrypoint or self.command)

    @property
    def config(self) -> dict[str, Any]:
        """The same as the engine would say it of the image (``Config``), without what the base has by itself."""
        return {
            "Entrypoint": self.entrypoint,
            "Cmd": self.command,
            "WorkingDir": self.folder,
            "Env": [f"{name}={value}" for name, value in self.environment.items()],
            "ExposedPorts": {port if "/" in port else f"{port}/tcp": {} for port in self.exposed},
        }

    def sources(self, path: str) -> list[str]:
        """Where in the build context a file of the image may come from, the likeliest first."""
        wanted = posixpath.normpath(posixpath.join(self.folder, path))
        found = []
        for target, source in reversed(self.copied):
            if wanted == target:
                found.append(source)
            elif target == "/" or wanted.startswith(f"{target}/"):
                found.append(posixpath.normpath(posixpath.join(source, wanted[len(target) :].lstrip("/"))))
        return found


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\[ \t]*\n", " ", "\n".join(lines))
    found = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest.strip()) for name, _space, rest in found]


def _argv(text: str) -> list[str] | None:
    """The exec form as it is written, the shell form as the engine runs it; None for an empty one."""
    if text.startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            words = None
        if isinstance(words, list):
            return [str(word) for word in words] or None
    return [*_SHELL, text] if text else None


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda m: values.get(m.group(1) or m.group(3), "") or m.group(2) or "", text)


def _stage_of(name: str, stages: Mapping[str, Recipe]) -> Recipe:
    own = Recipe(base=name)
    before = stages.get(name.lower())
    if before:
        own = Recipe(
            before.base, before.entrypoint, before.command, before.folder, dict(before.environment),
            list(before.exposed), list(before.copied),
        )  # fmt: skip
    return own


def _copy(recipe: Recipe, words: Sequence[str]) -> None:
    paths = [word for word in words if not word.startswith("--")]
    if len(paths) < 2 or any(word.startswith("--from=") for word in words):
        return
    *sources, target = paths
    place = posixpath.normpath(posixpath.join(recipe.folder, target))
    for source in sources:
        name = posixpath.normpath(source).lstrip("/") or "."
        folder = target.endswith("/") or target in (".", "./") or len(sources) > 1
        # Of a folder the engine copies what is in it; whether a source is one, only its name hints at.
        into = folder and name != "." and "." in posixpath.basename(name)
        recipe.copied.append((posixpath.join(place, posixpath.basename(name)) if into else place, name))
        if folder and name != "." and not into:
            recipe.copied.append((posixpath.join(place, posixpath.basename(name)), name))


def repository(image: str) -> str:
    """An image's name without its tag and digest."""
    return re.sub(r"(:[^:/]+)?(@.*)?$", "", image)


def made_by(images: Collection[str], paths: Collection[str], known: Collection[str]) -> dict[str, str]:
    """By which of a tree's recipes the images are made that no Compose file says how to build: repository → path.

    By a word that both names have; the last recipe that is left is that of the last image that is left.

    :param images: names of the images (``acme/shop-gateway:5``); ``known``: those of them that anybody can pull.
    :param paths: of the recipes, without those that Compose builds by (``docker/gateway/Dockerfile``).
    """
    found: dict[str, str] = {}
    for name in sorted({repository(image) for image in images}):
        for part in reversed([part for part in re.split(r"[._-]", name.lower().rpartition("/")[2]) if part]):
            named = [path for path in paths if part in re.split(r"[/._-]", path.lower())]
            if len(named) == 1:
                found[name] = named[0]
                break
    others = {repository(image) for image in images} - {repository(image) for image in known} - set(found)
    left = set(paths) - set(found.values())
    return {**found, others.pop(): left.pop()} if len(others) == len(left) == 1 else found


def recipe_of(text: str, target: str = "", arguments: Mapping[str, str] | None = None) -> Recipe:
    """Read the stage of a Dockerfile that is built: the one named ``target``, else the last.

    :param arguments: build arguments that the service gives; a default of the file's own is used for others.
    """
    stages: dict[str, Recipe] = {}
    values: dict[str, str] = {}
    given = {k: str(v) for k, v in (arguments or {}).items()}
    recipe, number = Recipe(), -1
    for name, rest in _instructions(text):
        words = rest.split()
        if name == "FROM":
            number += 1
            words = [word for word in words if not word.startswith("--")]
            recipe = _stage_of(_filled(words[0], values) if words else "", stages)
            stages[str(number)] = recipe
            if len(words) > 2 and words[1].upper() == "AS":
                stages[words[2].lower()] = recipe
        elif name == "ARG":
            key, _equals, value = rest.partition("=")
            values[key] = given.get(key, value.strip("\"'"))
        elif name == "ENV":
            pairs = re.findall(r"(\w+)=(\"[^\"]*\"|'[^']*'|\S*)", rest) if "=" in rest.split(" ")[0] else []
            for key, value in pairs or [tuple(rest.split(None, 1))] if len(words) > 1 or pairs else []:
                recipe.environment[key] = _filled(value.strip("\"'"), {**values, **recipe.environment})
        elif name == "WORKDIR":
            filled = _filled(rest.strip("\"'"), {**values, **recipe.environment})
            recipe.folder = posixpath.normpath(posixpath.join(recipe.folder, filled))
        elif name in ("COPY", "ADD"):
            _copy(
                recipe,
                (_argv(rest) if rest.startswith("[") else None)
                or _filled(rest, {**values, **recipe.environment}).split(),
            )
        elif name == "ENTRYPOINT":
            # An entrypoint of one's own leaves nothing of the command of the base.
            recipe.entrypoint, recipe.command = _argv(rest), None
        elif name == "CMD":
            recipe.command = _argv(rest)
        elif name == "EXPOSE":
            recipe.exposed += words
    wanted = stages.get(target.lower()) if target else None
    return wanted or recipe
