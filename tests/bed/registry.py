# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry with a login on 127.0.0.1, of Debian's own package, and what CI does with it: build, push, forget."""

from __future__ import annotations

import base64
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.bed.nested import BASE_IMAGE
from tests.bed.ports import free_port
from tests.bed.shop import LABEL, BedError, run

IMAGE = "evenkeel/registry:trixie"
_RECIPE = f"""FROM {BASE_IMAGE}
LABEL evenkeel.base=1
RUN apt-get update && apt-get install -y --no-install-recommends docker-registry apache2-utils && rm -rf /var/lib/apt/lists/*
"""
_SERVE = """
mkdir -p /data && htpasswd -Bbn "$NAME" "$WORD" >/data/users
cat >/data/config.yml <<'END'
version: 0.1
log: {accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: /data}}
auth: {htpasswd: {realm: shop, path: /data/users}}
http: {addr: ":5000"}
END
exec docker-registry serve /data/config.yml
"""


class Registry:
    """One registry, there from :meth:`start` on and gone with everything that carries the bed's label.

    :param bed: value of the label ``evenkeel.bed``.
    """

    def __init__(self, bed: str, username: str, password: str) -> None:
        self.bed, self.username, self.password = bed, username, password
        self.name, self.port = f"{bed}-registry", free_port()
        self.host = f"127.0.0.1:{self.port}"

    def start(self) -> Registry:
        run(["docker", "build", "--quiet", "--tag", IMAGE, "-"], timeout=600, input=_RECIPE)
        login = ["--env", f"NAME={self.username}", "--env", f"WORD={self.password}"]
        own = ["--name", self.name, "--label", f"{LABEL}={self.bed}", "--publish", f"{self.host}:5000"]
        run(["docker", "run", "--detach", *own, *login, IMAGE, "sh", "-ec", _SERVE])
        self._until_it_answers()
        return self

    def stop(self) -> None:
        run(["docker", "stop", "--time", "2", self.name])

    def again(self) -> None:
        run(["docker", "start", self.name])
        self._until_it_answers()

    def _until_it_answers(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/", timeout=5)
            except urllib.error.HTTPError as error:
                if error.code == 401:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise BedError(f"the registry at {self.host} does not answer")

    def asked(self) -> int:
        """How often it was asked so far."""
        # Access log and warnings go to either stream.
        logs = run(["sh", "-c", f"docker logs {self.name} 2>&1"])
        return logs.count('"GET /v2') + logs.count('"HEAD /v2')

    def push(self, tree: Path, repository: str, tag: str, labels: Mapping[str, str]) -> str:
        """What CI does with a tree: build, push, keep nothing here. Returns the digest that the registry knows it by."""
        reference = f"{self.host}/{repository}:{tag}"
        words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        run(["docker", "build", "--quiet", *words, "--tag", reference, str(tree)], timeout=600)
        with tempfile.TemporaryDirectory() as folder:
            # No login of it is left with this user, which the product would find.
            docker = ["docker", "--config", folder]
            login = ["login", "--username", self.username, "--password-stdin", self.host]
            run([*docker, *login], input=self.password)
            run([*docker, "push", "--quiet", reference])
        named = run(["docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", reference]).strip()
        run(["docker", "rmi", "--force", reference, named])
        return named.partition("@")[2]

    def move(self, repository: str, tag: str, other: str) -> None:
        """Let a tag name what another one names, as CI does by a push from another machine."""
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Accept": kind, "Content-Type": kind}
        manifests = f"http://{self.host}/v2/{repository}/manifests"
        with urllib.request.urlopen(
            urllib.request.Request(f"{manifests}/{other}", headers=headers), timeout=30
        ) as answer:
            manifest = answer.read()
        put = urllib.request.Request(f"{manifests}/{tag}", manifest, headers, method="PUT")
        urllib.request.urlopen(put, timeout=30).close()
