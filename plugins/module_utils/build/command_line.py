# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line that builds an image from a service's resolved ``build`` section."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ..engine.definition import GENERATED
from ..releases.project import ASIDE, OVERRIDES

#: Label of images that were built from a clean copy of a release's tree; those that were built before have none.
CLEAN_LABEL, CLEAN = "evenkeel.context", "clean"


class BadBuild(Exception):
    """The build section holds something that cannot be carried out; the message names it."""


@dataclass(frozen=True)
class Build:
    """One build: argv, the environment it needs (build arguments never go into argv), text for its stdin."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    stdin: str


_KNOWN = {
    "context", "dockerfile", "dockerfile_inline", "args", "target", "labels", "cache_from", "cache_to", "no_cache",
    "pull", "network", "extra_hosts", "additional_contexts", "shm_size", "ulimits", "ssh", "secrets", "platforms", "tags",
}  # fmt: skip


def build_command(
    section: Mapping[str, Any],
    image: str,
    cgroup_parent: str = "",
    fresh: bool = False,
    secrets: Mapping[str, Mapping[str, Any]] | None = None,
) -> Build:
    """Translate a ``build`` section for ``docker buildx build``.

    :param section: resolved, so paths are absolute and dollar signs doubled.
    :param image: the tag.
    :param cgroup_parent: the cgroup whose limits the build has to keep, empty for none.
    :param fresh: build without the cache.
    :param secrets: the project's top-level ``secrets``.
    :raises BadBuild: a key that is not known.
    """
    unknown = sorted(set(section) - _KNOWN)
    if unknown:
        raise BadBuild(f"build.{unknown[0]} is not supported; supported are {', '.join(sorted(_KNOWN))}")
    argv = ["docker", "buildx", "build", "--load", "--progress", "plain", "--tag", image]
    context = str(section["context"])
    if section.get("dockerfile_inline"):
        argv += ["--file", "-"]
    elif section.get("dockerfile"):
        dockerfile = str(section["dockerfile"])
        # In a context that is fetched from elsewhere it is looked for there.
        beside = context.startswith("/") and not dockerfile.startswith("/")
        argv += ["--file", f"{context}/{dockerfile}" if beside else dockerfile]
    environment = []
    for key, value in sorted((section.get("args") or {}).items()):
        argv += ["--build-arg", key]
        if value is not None:
            environment.append((key, _plain(value)))
    for option, key in (("--target", "target"), ("--network", "network"), ("--shm-size", "shm_size")):
        if section.get(key):
            argv += [option, str(section[key])]
    for option, key in (("--cache-from", "cache_from"), ("--cache-to", "cache_to"), ("--tag", "tags")):
        for value in section.get(key) or []:
            argv += [option, str(value)]
    for key, value in sorted((section.get("labels") or {}).items()):
        argv += ["--label", f"{key}={_plain(value)}"]
    for host in section.get("extra_hosts") or []:
        argv += ["--add-host", str(host).replace("=", ":", 1)]
    for key, value in sorted((section.get("additional_contexts") or {}).items()):
        argv += ["--build-context", f"{key}={value}"]
    for key, value in sorted((section.get("ulimits") or {}).items()):
        argv += [
            "--ulimit",
            f"{key}={value['soft']}:{value['hard']}" if isinstance(value, Mapping) else f"{key}={value}",
        ]
    for key in section.get("ssh") or []:
        argv += ["--ssh", str(key)]
    for secret in section.get("secrets") or []:
        argv += ["--secret", _secret(secret, secrets or {})]
    if section.get("platforms"):
        argv += ["--platform", ",".join(section["platforms"])]
    if fresh or section.get("no_cache"):
        argv.append("--no-cache")
    if section.get("pull"):
        argv.append("--pull")
    if cgroup_parent:
        argv += ["--cgroup-parent", cgroup_parent]
    inline = str(section.get("dockerfile_inline") or "")
    return Build((*argv, context), tuple(environment), _plain(inline))


def name_in_context(path: str, shared: Collection[str]) -> str:
    """The path that an entry of a release's tree has in what images are built from, empty where it has none.

    What is generated in a release, or is the server's own, may hold every secret of the app. The user's Compose files have
    their own names there again.

    :param path: relative to the tree.
    :param shared: paths of what is the server's own.
    """
    if path in {f"{ASIDE}{name}" for name in (GENERATED, *OVERRIDES)}:
        return path[len(ASIDE) :]
    # In folders there are temporary files of ours where a run was killed, beside an environment that it wrote.
    ours = path == GENERATED or path.startswith(".evenkeel") or posixpath.basename(path).startswith(".evenkeel-")
    return "" if ours or path in shared else path


def from_copy(section: Mapping[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    """A ``build`` section that builds from a clean copy of the tree, with the label that says so.

    :param move: absolute path of this host → where it is in the copy, the same where it lies outside the tree.
    """
    result = {**section, "labels": {**(section.get("labels") or {}), CLEAN_LABEL: CLEAN}}
    for key in ("context", "dockerfile"):
        if str(section.get(key) or "").startswith("/"):
            result[key] = move(str(section[key]))
    others = {k: str(v) for k, v in (section.get("additional_contexts") or {}).items()}
    if others:
        result["additional_contexts"] = {k: move(v) if v.startswith("/") else v for k, v in others.items()}
    return result


def _plain(value: Any) -> str:
    return str(value).replace("$$", "$")


def _secret(secret: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> str:
    source = str(secret.get("source"))
    definition = known.get(source) or {}
    target = str(secret.get("target") or source)
    if definition.get("file"):
        return f"id={target},src={definition['file']}"
    if definition.get("environment"):
        return f"id={target},env={definition['environment']}"
    raise BadBuild(f"the build secret {source} has neither file nor environment")


def memory_limit(available: int, asked: int) -> int:
    """How many bytes a build may take: what was asked for, else what is free now less a tenth for production."""
    return asked or max(256 * 1024 * 1024, available - available // 10)
