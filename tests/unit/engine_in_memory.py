# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that exists only in memory: images as files with owners, and containers made of them."""

from __future__ import annotations

import io
import os
import tarfile
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import NotFound

#: More than the kernel gives: the process of a container that is looked at from outside alone. Process 1 has this machine's below it.
NOBODY = 2**22 + 1


class EngineInMemory:
    """The calls of an engine that hotfixes use; ``edited`` are files that were changed by hand in the container api."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.names: dict[str, str] = {}
        self.made: dict[str, dict[str, Any]] = {}
        self.running: list[dict[str, Any]] = []
        self.edited: dict[str, Any] = {}
        self.added: set[str] = set()
        self.api = self
        self.count = 0

    def add(self, name: str, files: dict[str, str], **config: Any) -> str:
        self.count += 1
        identity = f"sha256:{self.count:064x}"
        entries = {p: (t.encode(), 1000, 1000, 0o640) for p, t in files.items()}
        self.images[identity] = {"files": entries, "config": {"WorkingDir": "/app", "Cmd": ["x"], **config}}
        self.names[name] = identity
        return identity

    def serve(self, project: str, service: str, image: str, name: str = "") -> None:
        labels = {"com.docker.compose.project": project, "com.docker.compose.service": service}
        self.running.append(
            {"Id": f"{service}1", "Name": f"/{service}-1", "Image": image, "Config": {"Labels": labels, "Image": name},
             "State": {"Pid": NOBODY, "StartedAt": "2026-01-01T00:00:00Z"}}
        )  # fmt: skip

    def containers(self, labels: Any = None, **_more: Any) -> list[dict[str, Any]]:
        return self.running if labels and "com.docker.compose.project" in labels else []

    def brief(self, _labels: Any) -> list[dict[str, Any]]:
        return []

    def image(self, reference: str) -> dict[str, Any]:
        identity = self.names.get(reference, reference)
        known = self.images.get(identity)
        layers = {"Layers": ["x"] * known.get("layers", 1)} if known else {}
        return {"Id": identity, "Config": known["config"], "RootFS": layers} if known else {}

    def untag(self, name: str) -> None:
        self.names.pop(name, None)

    def changed_paths(self, container: str) -> dict[str, str]:
        def kind(path: str) -> str:
            return "added" if path in self.added else "removed" if self.edited[path] is None else "changed"

        return {path: kind(path) for path in self.edited if container == "api1"}

    def create_container_from_config(self, config: dict[str, Any], name: str) -> dict[str, str]:
        self.made[name] = {"image": config["Image"], "files": dict(self.images[config["Image"]]["files"])}
        return {"Id": name}

    def remove(self, container: str) -> None:
        self.made.pop(container)

    def get_archive(self, container: str, path: str) -> tuple[list[bytes], dict[str, Any]]:
        files = (
            self.made[container]["files"]
            if container in self.made
            else {p: (t.encode(), 0, 0, 0o644) for p, t in self.edited.items() if t is not None}
        )
        if path not in files:
            raise NotFound("no such path")
        content, uid, gid, mode = files[path]
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w") as archive:
            entry = tarfile.TarInfo(os.path.basename(path))
            entry.size, entry.uid, entry.gid, entry.mode, entry.mtime = len(content), uid, gid, mode, 2000000000
            archive.addfile(entry, io.BytesIO(content))
        return [whole.getvalue()], {"mode": mode, "size": len(content)}

    def put_archive(self, container: str, folder: str, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for entry in archive:
                stream = archive.extractfile(entry)
                assert stream and not entry.name.startswith(("/", ".."))
                self.made[container]["files"][folder + entry.name] = (stream.read(), entry.uid, entry.gid, entry.mode)

    def commit(self, container: str, repository: str, tag: str, changes: list[str], **_more: Any) -> dict[str, str]:
        base = self.images[self.made[container]["image"]]
        labels = {
            **(base["config"].get("Labels") or {}),
            **dict(c.removeprefix("LABEL ").split("=") for c in changes),
        }
        identity = self.add(f"{repository}:{tag}", {}, **{**base["config"], "Labels": labels})
        self.images[identity]["files"] = self.made[container]["files"]
        self.images[identity]["layers"] = base.get("layers", 1) + 1
        return {"Id": identity}
