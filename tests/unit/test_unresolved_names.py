# SPDX-License-Identifier: GPL-3.0-or-later
"""A name of nginx's that nobody has at the moment, since its containers crash all the time."""

from __future__ import annotations

import re

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.nginx import NOWHERE, Nginx, NginxFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.pinning import Pinning
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.steering import Gates


class Container(Nginx):
    """nginx with names that it asks for, and a hosts file."""

    def __init__(self, *names: str, broken: bool = False) -> None:
        super().__init__(Engine.__new__(Engine), {"Id": "1", "Name": "/nginx"})
        self.names, self.broken = names, broken
        self.hosts, self.reloads = "127.0.0.1\tlocalhost\n", [""]

    def _read_hosts(self) -> str:
        return self.hosts

    def _write_hosts(self, text: str) -> None:
        self.hosts = text

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


def test_it_is_read_all_the_same_and_nothing_stays_of_it() -> None:
    nginx = Container("api", "ws")
    before = nginx.hosts
    with pytest.raises(NginxFailed, match="the upstream api cannot be resolved"):
        nginx.dump()
    assert nginx.described().startswith("# configuration file") and nginx.hosts == before
    # What a killed call has left goes first.
    nginx.pin("(read)", ["api"], [NOWHERE])
    assert nginx.described() and nginx.hosts == before


def test_what_is_wrong_besides_is_said() -> None:
    nginx = Container("api", broken=True)
    before = nginx.hosts
    with pytest.raises(NginxFailed, match="unknown directive"):
        nginx.described()
    assert nginx.hosts == before


def test_where_nobody_is_left_others_behind_the_same_nginx_are_led_on() -> None:
    nginx = Container("api")
    pinning = Pinning("api", ["api"], Gates([8000], False))
    pinning.rotate(nginx, [], ["172.20.0.9"])
    pinning.rotate(nginx, [], [])
    assert NOWHERE in nginx.reloads[-1] and "172.20.0.9" not in nginx.reloads[-1]
    pinning.settle(nginx, [])
    assert "evenkeel" not in nginx.hosts
    # Another reason to refuse is no reason to go on.
    nginx.broken = True
    with pytest.raises(NginxFailed):
        pinning.rotate(nginx, [], [])
    assert "evenkeel" not in nginx.hosts
