# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Compose project for changes of nginx: one answering shop, and nginx set up in each way that people have.

``python -m tests.bed.front serve`` is the shop inside its container; ``python -m tests.bed.front call PARAMETERS.json
PLACE`` carries out one call of ``nginx_reload`` and prints what came of it, or is killed with -9 at a place in it.
The shop's container has Python and no library, so at the top nothing is imported but what comes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "evenkeel-front"
CONF = "/etc/nginx/conf.d/default.conf"
QUITTING = "worker process is shutting down"
#: nginx without root, without a writable file system and without a capability.
STRICT = """pid /run/nginx/nginx.pid;
error_log /dev/stderr notice;
events {}
http {
    access_log off;
    client_body_temp_path /run/nginx/body;
    proxy_temp_path /run/nginx/proxy;
    fastcgi_temp_path /run/nginx/fastcgi;
    uwsgi_temp_path /run/nginx/uwsgi;
    scgi_temp_path /run/nginx/scgi;
    include /etc/nginx/conf.d/*.conf;
}
"""


def site(extra: str = "", upstream: str = "api:8000", listen: int = 80) -> str:
    """A server block that proxies to the shop."""
    return f"""server {{
    listen {listen};
    {extra}
    location / {{
        proxy_pass http://{upstream};
        proxy_set_header Host $host;
        proxy_set_header Authorization "Bearer hunter2-token";
    }}
}}
"""


class Front:
    """The project's folder, its containers, and what runs in them.

    :param folder: a folder of its own; removed with everything else by :meth:`destroy`.
    """

    def __init__(self, folder: Path, ports: tuple[int, int]) -> None:
        self.folder = folder
        self.ports = dict(zip(("file", "folder"), ports, strict=True))
        self.url = self.url_of("file")
        self.label = f"evenkeel.bed={NAME}"
        self.state = folder / "state"
        # Not at the top: the shop's container has no SDK. Not the CLI: it takes a tenth of a second to start each time.
        from docker import APIClient

        self.engine = APIClient(timeout=120)

    def create(self) -> None:
        """Write the project and start it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("folder", "strict", "tls"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "front.conf").write_text(site(), encoding="utf-8")
        (self.folder / "folder/default.conf").write_text(site(), encoding="utf-8")
        (self.folder / "strict/default.conf").write_text(site(listen=8080), encoding="utf-8")
        (self.folder / "strict.conf").write_text(STRICT, encoding="utf-8")
        released = self.folder / "mounts" / ("0" * 64)
        released.mkdir(parents=True)
        (released / "released.conf").write_text(site(), encoding="utf-8")
        (self.folder / "compose.yaml").write_text(json.dumps(self._project()), encoding="utf-8")
        self.compose("up", "--detach", "--wait", "--quiet-pull")

    def url_of(self, service: str) -> str:
        """Where the nginx of a service is reached from here."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def _project(self) -> dict[str, Any]:
        labels = {"evenkeel.bed": NAME}
        nginx = {"image": "evenkeel/nginx:1.26", "labels": labels, "depends_on": ["api"], "stop_grace_period": "1s"}
        source = self.folder
        return {
            "name": NAME,
            "services": {
                "api": {
                    "image": "evenkeel/python:3.13",
                    "labels": labels,
                    "command": ["python", "-m", "tests.bed.front", "serve"],
                    "working_dir": "/code",
                    "volumes": [f"{ROOT}/tests:/code/tests:ro"],
                    "environment": {"PYTHONDONTWRITEBYTECODE": "1"},
                    "stop_grace_period": "1s",
                },
                "file": {
                    **nginx,
                    "ports": [f"127.0.0.1:{self.ports['file']}:80"],
                    "volumes": [f"{source}/front.conf:{CONF}:ro", f"{source}/tls:/etc/nginx/tls:ro"],
                },
                "folder": {
                    **nginx,
                    "ports": [f"127.0.0.1:{self.ports['folder']}:80"],
                    "volumes": [f"{source}/folder:/etc/nginx/conf.d:ro"],
                },
                "volume": {**nginx, "volumes": ["sites:/etc/nginx/conf.d"]},
                "layer": nginx,
                "released": {**nginx, "volumes": [f"{source}/mounts/{'0' * 64}/released.conf:{CONF}:ro"]},
                "strict": {
                    **nginx,
                    "user": "101:101",
                    "read_only": True,
                    "cap_drop": ["ALL"],
                    "tmpfs": ["/run/nginx:uid=101,gid=101", "/var/log/nginx:uid=101,gid=101", "/var/lib/nginx:uid=101"],
                    "volumes": [
                        f"{source}/strict.conf:/etc/nginx/nginx.conf:ro",
                        f"{source}/strict:/etc/nginx/conf.d:ro",
                    ],
                },
            },
            "volumes": {"sites": {"labels": labels}},
            "networks": {"default": {"labels": labels}},
        }

    def destroy(self) -> None:
        """Remove everything that carries the label, and the folder."""
        remove_labelled(self.label)
        shutil.rmtree(self.folder, ignore_errors=True)

    def compose(self, *words: str) -> str:
        """A plain ``docker compose``."""
        return docker("compose", "--project-directory", str(self.folder), *words)

    def container(self, service: str) -> str:
        """Name of a service's container."""
        return f"{NAME}-{service}-1"

    def inside(self, service: str, *argv: str, user: str = "0") -> str:
        """Run a command in a service's container and return what it printed."""
        from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.exec_output import streams_of

        made = self.engine.exec_create(self.container(service), list(argv), user=user)["Id"]
        output = b"".join(streams_of(self.engine, made)).decode("utf-8")
        assert self.engine.exec_inspect(made)["ExitCode"] == 0, f"{argv}: {output}"
        return output

    def text(self, service: str, path: str = CONF) -> str:
        """A file as the container sees it."""
        return self.inside(service, "cat", path)

    def untouched(self, service: str) -> tuple[Any, ...]:
        """What must be the same where nginx was left alone: container, master, start, workers, configuration.

        Workers that a reload before has told to end may end meanwhile.
        """
        inspection = self.engine.inspect_container(self.container(service))
        state = inspection["State"]
        listed = [" ".join(p) for p in self.engine.top(self.container(service), "-o pid,lstart,args")["Processes"]]
        pids = sorted(line for line in listed if "nginx: " in line and QUITTING not in line)
        assert len(pids) > 1, listed
        # One that was written and put back has another time.
        script = 'stat -c "%i %z" "$1"; cat "$1"'
        seen = self.inside(service, "sh", "-c", script, "sh", CONF)
        return inspection["Id"], state["Pid"], state["StartedAt"], pids, *seen.split("\n", 1)

    def leftovers(self) -> list[str]:
        """Twins, volumes of twins, and files that were to be renamed."""
        label = {"label": f"evenkeel.twin={NAME}"}
        found = [str(twin["Id"]) for twin in self.engine.containers(all=True, filters=label)]
        found += [str(volume["Name"]) for volume in self.engine.volumes(filters=label)["Volumes"] or []]
        return found + [str(path) for path in self.folder.glob("**/.evenkeel-*")]

    def parameters(self, service: str, content: str, **further: Any) -> dict[str, Any]:
        """The module's arguments."""
        own = {"project_src": str(self.folder), "state_dir": str(self.state), "service": service, "dest": CONF}
        return {**own, "content": content, "backup": True, "keep": 3, "validate_only": False, **further}

    def killed(self, parameters: dict[str, Any], place: str) -> None:
        """Carry out one call in a process that is killed at a place."""
        file = self.folder / "parameters.json"
        file.write_text(json.dumps(parameters), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "tests.bed.front", "call", str(file), place],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, f"{place}: {done.returncode} {done.stdout}{done.stderr}"


def remove_labelled(label: str) -> None:
    """Remove every container, volume and network with a label."""
    for listing, removal in (
        (["ps", "-aq"], ["rm", "-fv"]),
        (["volume", "ls", "-q"], ["volume", "rm"]),
        (["network", "ls", "-q"], ["network", "rm"]),
    ):
        found = docker(*listing, "--filter", f"label={label}").split()
        if found:
            docker(*removal, *found)


def docker(*words: str) -> str:
    """Run ``docker`` and return what it printed."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout


async def serve() -> None:
    """The shop: answers everything, counts nothing."""
    # By its file: the package around it wants libraries that the image does not have.
    spec = importlib.util.spec_from_file_location("fake", Path(__file__).parent / "load/fake.py")
    assert spec is not None and spec.loader is not None
    fake = sys.modules["fake"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    shop = fake.FakeShop()
    shop.gate.set()
    server = await asyncio.start_server(shop._serve, "0.0.0.0", 8000, backlog=1024)
    async with server:
        await server.serve_forever()


def call(file: str, place: str) -> None:
    """One call, killed at a place: before or after a step, or while a twin runs."""
    from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
    from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import nginx_reload as nginx_reload_call
    from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host import nginx
    from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host import site as nginx_site
    from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import nginx_reload

    def die(*_args: Any, **_kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    if place == "twin":
        _die_in_a_twin(die)
    elif place == "installed":
        nginx.Master.reload = die  # type: ignore[method-assign]
    elif place == "before-install":
        nginx_site.Site.install = die  # type: ignore[method-assign]
    elif place == "renaming":
        replace = nginx_site.replace_file

        def renaming(path: str, content: bytes) -> None:
            os.replace = die  # type: ignore[assignment]
            replace(path, content)

        nginx_site.replace_file = renaming
    elif place == "reloaded":
        nginx_reload.Change.prove = die  # type: ignore[method-assign]
    elif place == "torn":

        def torn(path: str, content: bytes) -> None:
            with open(path, "r+b") as stream:
                stream.write(content[: len(content) // 2])
            die()

        nginx_site.overwrite = torn
    elif place != "nowhere":
        raise ValueError(place)
    try:
        result = nginx_reload_call.call(json.loads(Path(file).read_text(encoding="utf-8")), False)
    except BadInput as error:
        result = {"failed": True, "refused": True, "msg": error.message()}
    json.dump(result, sys.stdout)


def _die_in_a_twin(die: Any) -> None:
    from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host import site as nginx_site

    nginx_site.run_here = die
    with contextlib.suppress(ImportError):  # a server whose nginx is its own needs no SDK
        from docker import APIClient

        APIClient.wait = die  # type: ignore[method-assign]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        call(sys.argv[2], sys.argv[3])
