# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``compose_build``: build or pull what a project's services need and is not there, builds within limits."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host.file_lock import held_for_acts
from ...base.host.files import private_directory, read_json
from ...base.host.processes import memory_of_machine
from ...base.secret_values import MARK
from ...engine.definition import UNKNOWN_UNTIL_BUILT
from ...engine.host.compose import ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of
from ...engine.host.project import TOOLS_FIT, compose_of, connect, state_dir_of
from ...engine.options import ProjectOptions
from ...operation.host.journal import Fence, working
from ...operation.host.progress import SILENT, Progress, ProgressOptions
from ...operation.options import LockOptions
from ...releases import choice
from ...releases.host.image_archive import bring_back, in_archive
from ...releases.host.kept_images import parts_of
from ...releases.host.store import Store
from ...releases.layout import release_in
from ..build_steps import steps_in
from ..command_line import BadBuild, Build, build_command, from_copy, memory_limit
from .context import clean_context
from .pull import login_from, pull_missing

_GROUP = "evenkeel-build"
# Seconds between two looks at what a build prints.
_LOOK = 0.5
_SHARES, _WEIGHT = 256, 25  # a quarter of what a container of the site gets


def _write(path: str, text: str) -> bool:
    try:
        with open(path, "w", encoding="ascii") as stream:
            stream.write(text)
    except OSError:
        return False
    return True


def limit_builds(engine: Engine, memory: int) -> str:
    """Prepare a cgroup for builds and return what ``--cgroup-parent`` wants, empty where limits cannot be set.

    BuildKit ignores ``--memory``; only the parent cgroup limits it.
    """
    if os.geteuid() != 0:
        return ""
    if engine.info().get("CgroupDriver") == "systemd":
        name = f"{_GROUP}.slice"
        settings = [f"MemoryMax={memory}", f"CPUWeight={_WEIGHT}"]
        for words in (["start", name], ["set-property", "--runtime", name, *settings]):
            try:
                done = subprocess.run(["systemctl", *words], capture_output=True, check=False, timeout=30)
            except (OSError, subprocess.TimeoutExpired):
                return ""
            if done.returncode != 0:
                return ""
        return name
    if os.path.isdir("/sys/fs/cgroup/memory"):
        files = {
            f"/sys/fs/cgroup/memory/{_GROUP}/memory.limit_in_bytes": str(memory),
            f"/sys/fs/cgroup/cpu/{_GROUP}/cpu.shares": str(_SHARES),
        }
    else:
        files = {
            f"/sys/fs/cgroup/{_GROUP}/memory.max": str(memory),
            f"/sys/fs/cgroup/{_GROUP}/cpu.weight": str(_WEIGHT),
        }
    for path in files:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except OSError:
            return ""
    written = [_write(path, text) for path, text in files.items()]
    return f"/{_GROUP}" if all(written) else ""


def image_of(build: Build) -> str:
    """The name that a build gives its image."""
    return build.argv[build.argv.index("--tag") + 1]


def run_build(build: Build, log: str, progress: Progress = SILENT) -> None:
    """Run one build to its end, with its output in a private file.

    :param log: the file, begun anew; ``progress`` is told the steps of the Dockerfile as they begin.
    :raises BadInput: it failed; the message has its last errors without any value of a build argument.
    """
    # As for Compose: the engine that the SDK speaks to, whatever context or builder somebody chose in a shell.
    chosen = ("DOCKER_CONTEXT", "BUILDX_BUILDER")
    environment = {k: v for k, v in os.environ.items() if k not in chosen}
    environment.setdefault("DOCKER_HOST", "unix:///var/run/docker.sock")
    environment.update(build.environment)
    try:
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            done = subprocess.Popen(
                build.argv,
                env=environment,
                stdin=subprocess.PIPE,
                text=True,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(held_for_acts),
            )
            _follow(done, build, log, progress)
    except OSError as error:
        raise BadInput(
            f"docker buildx could not be started: {error.strerror}", "install the package docker-buildx"
        ) from error
    if done.returncode != 0:
        with open(log, encoding="utf-8", errors="replace") as stream:
            lines = [line.rstrip() for line in stream if line.strip()]
        shown = [line for line in lines if "ERROR" in line or "error" in line.lower()][-3:] or lines[-3:]
        image = image_of(build)
        text = "\n  ".join(shown)
        for name, value in build.environment:
            text = text.replace(value, f"<{name}>") if len(value) > 5 else text
        raise BadInput(f"the image {image} does not build:\n  {text}", f"the whole output is in {log} on this host")


def _follow(process: subprocess.Popen[str], build: Build, log: str, progress: Progress) -> None:
    """Wait for a build, and tell each of its steps once."""
    told: set[str] = set()
    with open(log, encoding="utf-8", errors="replace") as lines:
        ended = False
        while not ended:
            try:
                process.communicate(build.stdin, timeout=_LOOK)
                ended = True
            except subprocess.TimeoutExpired:
                pass
            for step in steps_in(lines.readlines()):
                if step not in told:
                    told.add(step)
                    progress.say(f"{image_of(build)}: {step}", "build")


@dataclass(frozen=True)
class Request:
    """Which images are built.

    :ivar rebuild: those that are there too, without a cache.
    :ivar build: ``never`` loads what is missing from an archive instead, or refuses.
    :ivar registry: the login of a registry: ``url``, ``username``, ``password`` or ``password_file``; empty for none.
    :ivar memory: bytes that a build may take; 0 for what the machine has room for.
    :ivar brief: do it only where nothing has to be built or pulled, and say so otherwise (``due``).
    """

    project: ProjectOptions
    lock: LockOptions
    progress: ProgressOptions = field(default_factory=ProgressOptions)
    rebuild: bool = False
    build: str = "policy"
    memory: int = 0
    brief: bool = False
    registry: Mapping[str, Any] = field(default_factory=dict, repr=False)


def build_images(request: Request, check_mode: bool) -> dict[str, Any]:
    """Build or pull the images that a project needs; images that are there are left alone unless ``rebuild``.

    :raises BadInput: a build or pull that fails; nothing that runs was touched.
    """
    compose = compose_of(request.project)
    engine = connect(compose.project_src, request.lock)
    try:
        project = compose.resolved()
        if check_mode:
            return build_missing(request, engine, project, "")
        would = build_missing(request, engine, project, "") if request.brief else {}
        # What a registry has under a tag by now is not known before it is asked.
        if would and (would["changed"] or request.rebuild):
            return {**would, "changed": False, "due": True}
        state = state_dir_of(request.lock, str(project["name"]))
        # What builds moves no tag of what runs, and may take long: others need not wait for the end of it.
        with working(request.lock, state, f"compose_build of {project['name']}") as fence:
            fence.note(**{TOOLS_FIT: True})
            logs = private_directory(os.path.join(state, "logs"))
            progress = Progress.open(state, request.progress.progress_id)
            result = would or build_missing(request, engine, project, logs, fence, progress)
            _mark_built(compose.project_src, fence)
            return fence.reported(result)
    except ComposeFailed as error:
        raise BadInput(f"the images cannot be built: {error}") from error


def _mark_built(folder: str, fence: Fence) -> None:
    """Write into a release that it has all that it needs; the folder may be no release's."""
    found = release_in(os.path.realpath(folder))
    if not found:
        return
    layout, release = found
    store = Store(layout.root)
    if store.manifest(release).get("state") == choice.PREPARING:
        with fence.act(f"mark {release} built"):
            store.note(release, state=choice.BUILT)


def build_missing(
    request: Request,
    engine: Engine,
    project: Mapping[str, Any],
    logs: str,
    fence: Fence | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Build or pull what is missing, or load it where nothing is to be built.

    :param logs: folder for the output of builds; empty to build nothing and only say what would be built.
    :param fence: the lock under which images are loaded; None to only say what would be loaded.
    :raises BadInput: a build failed, or an image can neither be built nor loaded nor pulled.
    """
    login = login_from(request.registry)
    wanted = {
        str(s["image"]): s["build"] for s in project.get("services", {}).values() if s.get("build") and s.get("image")
    }
    loaded: list[str] = []
    if request.build == "never":
        loaded = _have_back(request.project.project_src, engine, project, wanted, fence)
    # What would be loaded is no question to a registry.
    here = {*wanted, *loaded}
    pulled = pull_missing(engine, project, here, login, request.rebuild, fence, progress)
    missing = [image for image in sorted(wanted) if request.rebuild or not engine.image(image)]
    parent = ""
    if missing and logs:
        parent = limit_builds(engine, memory_limit(memory_of_machine()[1], request.memory))
    commands = []
    tree = request.project.project_src if missing and logs and MARK in project else ""
    copied = clean_context(tree, os.path.dirname(logs)) if tree else nullcontext()
    with copied as move:
        for image in missing:
            section = wanted[image] if move is None else from_copy(wanted[image], move)
            try:
                command = build_command(section, image, parent, request.rebuild, project.get("secrets"))
            except BadBuild as error:
                raise BadInput(f"{image}: {error}") from error
            commands.append((image, command))
        for image, command in commands if logs else []:
            if fence:
                fence.check()
            run_build(command, os.path.join(logs, f"build-{image.replace('/', '_').replace(':', '_')}.log"), progress)
    unlimited = bool(commands and logs and not parent)
    said = []
    if missing:
        text = f"built: {', '.join(missing)}"
        said.append(text if logs else f"would be {text}; {UNKNOWN_UNTIL_BUILT}")
    said += [f"{'pulled' if fence else 'would be pulled'}: {', '.join(pulled.images)}"] if pulled.images else []
    said += [f"loaded from the archive of this release: {', '.join(loaded)}"] if loaded else []
    return {
        "msg": "; ".join(said),
        "changed": bool(missing or loaded or pulled.images),
        "due": False,
        "built": missing,
        "loaded": loaded,
        "pulled": list(pulled.images),
        "images": {i: engine.image(i).get("Id", "") for i in sorted(wanted)},
        "containers": _containers(engine, str(project["name"])),
        "notes": [*pulled.notes, *(["builds ran without limits: they can be set by root only"] if unlimited else [])],
    }


def _containers(engine: Engine, project: str) -> dict[str, list[str]]:
    """Per service the states of its containers, as the engine names them."""
    found: dict[str, list[str]] = {}
    for inspection in engine.containers({PROJECT_LABEL: project, ONE_OFF_LABEL: "False"}):
        states = found.setdefault(label_of(inspection, SERVICE_LABEL), [])
        states.append(str((inspection.get("State") or {}).get("Status") or ""))
    return found


def _have_back(
    tree: str, engine: Engine, project: Mapping[str, Any], built: Mapping[str, Any], fence: Fence | None
) -> list[str]:
    """Load what is gone from the release's archive; returns the names, also where they only would be.

    :raises BadInput: an image that only a build could make is in no archive, or its archive is damaged.
    """
    services = project.get("services", {}).values()
    named = _named_again(tree, engine, services, fence)
    wanted = {str(s["image"]) for s in services if s.get("image")} - set(named)
    gone = sorted(n for n in wanted if not engine.image(n))
    found = in_archive(tree, gone) if gone else {}
    lost = [name for name in gone if name in built and name not in found]
    if lost:
        raise BadInput(
            f"{', '.join(lost)} is not on this host any more, in no archive, and nothing is to be built",
            "update to that revision (update_version), which builds it anew; or load it, and run the same command again",
        )
    if fence:
        bring_back(engine, found, fence)
    return sorted({*found, *named})


def _named_again(tree: str, engine: Engine, services: Iterable[Mapping[str, Any]], fence: Fence | None) -> list[str]:
    """Give their names back to images that are there without one, as below those of a hotfix; returns the names."""
    known = read_json(os.path.join(tree, ".evenkeel", "manifest.json")).get("image_ids") or {}
    names = {str(s.get("image") or "") for s in services}
    lost = {n: str(i) for n, i in known.items() if n in names and not engine.image(n) and engine.image(str(i))}
    for name, image in sorted(lost.items()):
        if fence:
            with fence.act(f"name {image[7:19]} {name} again"):
                engine.tag(image, *parts_of(name))
    return sorted(lost)
