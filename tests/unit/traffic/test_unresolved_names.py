# SPDX-License-Identifier: GPL-3.0-or-later
"""A name of nginx's that nobody has at the moment, since its containers crash all the time."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import routes
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import NOWHERE, Nginx, NginxFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import load
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.hosts_pin import Pinning
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.steering import Gates


class Container(Nginx):
    """nginx with names that it asks for, and a hosts file."""

    def __init__(self, *names: str, broken: bool = False) -> None:
        super().__init__(Engine.__new__(Engine), {"Id": "1", "Name": "/nginx"})
        self.names, self.broken = names, broken
        self.hosts, self.reloads = "127.0.0.1\tlocalhost\n", [""]
        self.main, self.written = "/etc/nginx/nginx.conf", 0

    def _read_hosts(self) -> str:
        return self.hosts

    def _write_hosts(self, text: str) -> None:
        self.hosts = text
        self.written += 1

    def main_file(self) -> str:
        return self.main

    def read(self, path: str) -> bytes | None:
        return Path(path).read_bytes() if Path(path).exists() else None

    def _inside(self, *argv: str, errors_too: bool = True) -> tuple[int, str]:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    def command(self, *argv: str, errors_too: bool = True) -> tuple[int, str]:
        for name in self.names:
            if not re.search(rf"\s{name}\b", self.hosts):
                return 1, f'nginx: [emerg] host not found in upstream "{name}" in /etc/nginx/conf.d/default.conf:17\n'
        if self.broken:
            return 1, 'nginx: [emerg] unknown directive "sevrer" in /etc/nginx/conf.d/default.conf:3\n'
        return 0, "# configuration file /etc/nginx/nginx.conf:\n"

    def reload(self, timeout: float = 30.0) -> None:
        code, output = self.command("-t")
        if code:
            raise NginxFailed(output)
        self.reloads.append(self.hosts)


def test_it_is_read_all_the_same_and_nothing_is_written_for_it(tmp_path: Path) -> None:
    nginx = Container("api", "ws")
    main = tmp_path / "nginx.conf"
    (tmp_path / "conf d").mkdir()
    nginx.main = str(main)
    main.write_text("events {} http { include 'conf d/*.conf'; include conf?d/none-*; include types; }")
    (tmp_path / "types").write_text("types { text/html html; }")
    for name in ("b", "a"):
        (tmp_path / f"conf d/{name}.conf").write_text(f"server {{ location / {{ proxy_pass http://{name}; }} }}")
    with pytest.raises(NginxFailed, match="the upstream api cannot be resolved"):
        nginx.dump()
    read = nginx.described()
    assert [r.host for r in routes(load(read))] == ["a", "b"]
    assert nginx.written == 0
    main.unlink()
    with pytest.raises(NginxFailed, match="cannot be read"):
        nginx.described()


def test_another_reason_to_refuse_is_said() -> None:
    nginx = Container(broken=True)
    with pytest.raises(NginxFailed, match="unknown directive"):
        nginx.described()
    assert nginx.written == 0


def test_where_nobody_is_left_others_behind_the_same_nginx_are_led_on() -> None:
    nginx = Container("api")
    pinning = Pinning("api", ["api"], Gates([8000], False))
    pinning.rotate(nginx, [], ["172.20.0.9"])
    pinning.rotate(nginx, [], [])
    assert NOWHERE in nginx.reloads[-1] and "172.20.0.9" not in nginx.reloads[-1]
    pinning.unpin(nginx, [])
    assert "evenkeel" not in nginx.hosts
    # Another reason to refuse is no reason to go on.
    nginx.broken = True
    with pytest.raises(NginxFailed):
        pinning.rotate(nginx, [], [])
    assert "evenkeel" not in nginx.hosts
