# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job builds for the proxy to serve: which of its mounts that is, and how it is kept from being seen half done.

The job writes into a volume of the release's own.  From there the files go beside the live ones, after the roll.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.secret_values import MARK
from ..engine.definition import LIVE as LIVE_MARK
from ..engine.jobs import BadJob
from ..engine.programs import JOB, PROXY

STAGING_LABEL = "evenkeel.staging"
RELEASE_LABEL = "evenkeel.release"
PUBLISHER = "evenkeel-publish"
LIVE, BUILDS, ADOPTED = "/evenkeel/live", "/evenkeel/builds", "/evenkeel/adopted"
# Copies of files of the tree have their content for a name.
_COPY = re.compile(r"/mounts/[0-9a-f]{64}(/|$)")


@dataclass(frozen=True)
class Output:
    """One mount of a job that the proxy serves from.

    :ivar live: the volume's key in the project, or the absolute path on the host.
    :ivar target: where the job sees it.
    :ivar staging: name of the volume that it writes into instead.
    :ivar readers: services other than jobs and proxies that look into it as well.
    """

    job: str
    live: str
    target: str
    staging: str
    readers: tuple[str, ...] = ()


def _mounts(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [v for v in service.get("volumes") or [] if v.get("type") in ("volume", "bind") and v.get("source")]


def outputs_of(
    project: Mapping[str, Any], job: str, kinds: Mapping[str, str], release: str
) -> tuple[list[Output], list[str]]:
    """The outputs of a job, and remarks on mounts that look like one and are written in place.

    :param kinds: the kind of each service.
    :raises BadJob: a mount whose half-done state could not be hidden.
    """
    services = project["services"]
    wish = (services[job].get("x-evenkeel") or {}).get("publish")
    found: list[Output] = []
    remarks: list[str] = []
    for mount in _mounts(services[job]):
        if mount.get("read_only") or wish is False:
            continue
        source = str(mount["source"])
        served = [n for n in services if kinds.get(n) == PROXY and _has(services[n], source)]
        others = [n for n in services if kinds.get(n) not in (PROXY, JOB) and _has(services[n], source)]
        writers = [n for n in others if _has(services[n], source, writable=True)]
        if mount["type"] == "bind":
            _refuse_what_cannot_be_hidden(job, mount, project, kinds)
        if not served and wish is not True:
            continue
        if writers and wish is not True:
            remarks.append(
                f"{job} writes to {source} in place, since {' and '.join(writers)} may write there too; users see what is "
                f"half done (mount it read_only there, or write x-evenkeel: {{publish: true}} beside {job})"
            )
            continue
        digest = hashlib.sha256(source.encode()).hexdigest()[:8]
        name = f"{project['name']}_evenkeel-{job}-{digest}-{release}"
        found.append(Output(job, source, str(mount["target"]), name, tuple(others)))
    return found, remarks


def _has(service: Mapping[str, Any], source: str, writable: bool = False) -> bool:
    return any(str(m["source"]) == source and not (writable and m.get("read_only")) for m in _mounts(service))


def _refuse_what_cannot_be_hidden(
    job: str, mount: Mapping[str, Any], project: Mapping[str, Any], kinds: Mapping[str, str]
) -> None:
    source, services = str(mount["source"]), project["services"]
    live = (project.get(MARK) or {}).get(LIVE_MARK) or {}
    served_of_tree = {path.rsplit("/", 1)[-1] for paths in live.values() for path in paths.values()}
    seen = [str(m["source"]) for n in services if kinds.get(n) == PROXY for m in _mounts(services[n])]
    advice = "let both mount one named volume for what is built"
    # A proxy finds files of the tree at a path of its own, where this job would never put anything.
    if _COPY.search(source) and (source in seen or source.rsplit("/", 1)[-1] in served_of_tree):
        raise BadJob(f"{job} builds into a folder of the release's tree that the proxy serves; {advice}")
    for path in seen:
        if path.startswith(f"{source}/") or (path.startswith("/") and source.startswith(f"{path}/")):
            raise BadJob(f"{job} builds into {source} and the proxy serves {path}, one inside the other; {advice}")


def staged(project: Mapping[str, Any], job: str, outputs: Sequence[Output], release: str) -> dict[str, Any]:
    """The project to run a job by: it alone, with a fresh volume in the place of each output."""
    result: dict[str, Any] = json.loads(json.dumps(project))
    service = result["services"][job]
    service.pop("profiles", None)
    service.pop("depends_on", None)
    # One that is named could not run beside a leftover of itself, and ports would be somebody else's.
    for key in ("container_name", "ports", "restart"):
        service.pop(key, None)
    result["services"] = {job: service}
    by_target = {o.target: o for o in outputs}
    for mount in service.get("volumes") or []:
        output = by_target.get(str(mount.get("target")))
        if output:
            mount.pop("bind", None)
            mount.update(type="volume", source=output.staging)
            result.setdefault("volumes", {})[output.staging] = _staging(project, output, release)
    return result


def _staging(project: Mapping[str, Any], output: Output, release: str) -> dict[str, Any]:
    live = (project.get("volumes") or {}).get(output.live) or {}
    own = {STAGING_LABEL: str(project["name"]), RELEASE_LABEL: release}
    return {"name": output.staging, "labels": {**(live.get("labels") or {}), **own}}


def by_live(outputs: Sequence[Output]) -> dict[str, list[Output]]:
    """Outputs by what they are published to; two jobs may build parts of one site."""
    found: dict[str, list[Output]] = {}
    for output in outputs:
        found.setdefault(output.live, []).append(output)
    return found


def publisher(
    project: Mapping[str, Any],
    image: str,
    outputs: Sequence[Output],
    release: str,
    there: Collection[str],
    before: Sequence[Output] = (),
    adopted: str = "",
) -> dict[str, Any]:
    """A project with one service that has the live files and what was built, and no network.

    :param image: any image with Python.
    :param outputs: of one :func:`by_live`.
    :param there: the volumes of this host: what is gone is left out.
    :param before: of the release ``adopted``, what is to be kept of the live files; they are one folder, so the first has all.
    """
    live = outputs[0].live
    known = (project.get("volumes") or {}).get(live)
    mounts: list[dict[str, Any]] = [
        {"type": "bind" if live.startswith("/") else "volume", "source": live, "target": LIVE}
    ]
    volumes = {} if live.startswith("/") else {live: known or {}}
    for number, output in enumerate(o for o in outputs if o.staging in there):
        mounts.append({"type": "volume", "source": output.staging, "target": f"{BUILDS}/{number}", "read_only": True})
        volumes[output.staging] = _staging(project, output, release)
    for number, output in enumerate(before):
        mounts.append({"type": "volume", "source": output.staging, "target": f"{ADOPTED}/{number}"})
        volumes[output.staging] = _staging(project, output, adopted)
    service = {"image": image, "user": "0:0", "network_mode": "none", "volumes": mounts, "pull_policy": "never"}
    return {"name": project["name"], "services": {PUBLISHER: service}, "volumes": volumes}
