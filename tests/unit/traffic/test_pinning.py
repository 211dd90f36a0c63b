# SPDX-License-Identifier: GPL-3.0-or-later
"""Pins where nginx does not do as it was told: started anew without them, or loaded again later than awaited."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.processes import Process
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import (
    Nginx,
    NginxFailed,
    ReloadLate,
    loaded_at,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import firewall
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.hosts_pin import Pinning
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.steering import Endpoint, Gates

OLD = Endpoint("old", "172.20.0.4", 104, 100.0, {})
NEW = Endpoint("new", "172.20.0.5", 105, 200.0, {})


class Front(Nginx):
    """nginx with a hosts file, whose reloads fail as they are told to; ``read`` is what it was loaded with."""

    def __init__(self, failure: NginxFailed | None = None) -> None:
        super().__init__(Engine.__new__(Engine), {"Id": "1", "Name": "/nginx"})
        self.hosts, self.failure, self.read = "127.0.0.1\tlocalhost\n", failure, ""

    def _read_hosts(self) -> str:
        return self.hosts

    def _write_hosts(self, text: str) -> None:
        self.hosts = text

    def reload(self, timeout: float = 30.0) -> None:
        if self.failure:
            raise self.failure
        self.read = self.hosts

    def signal_reload(self) -> tuple[int, str]:
        self.read = self.hosts
        return 0, ""


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The main processes of the containers that others are kept from."""
    pids: set[int] = set()
    monkeypatch.setattr(firewall, "is_closed", lambda pid: pid in pids)
    return pids


def pinning() -> Pinning:
    return Pinning("api", ["api"], Gates([8000], True))


def test_started_anew_without_its_pins_it_knows_those_too_that_are_kept_from_it(closed: set[int]) -> None:
    nginx = Front()
    closed.add(OLD.pid)
    lead = pinning().look(nginx, [OLD, NEW], 300.0)
    assert lead.inside == {"new"} and lead.stale
    nginx.pin("api", ["api"], [NEW.address])
    lead = pinning().look(nginx, [OLD, NEW], float("inf"))
    assert lead.inside == {"new"} and not lead.stale, "with its pin again it knows one"


def test_one_that_was_started_since_it_was_loaded_is_unknown_to_it(closed: set[int]) -> None:
    closed.add(NEW.pid)
    assert not pinning().look(Front(), [OLD, NEW], 150.0).stale


def test_a_reload_that_may_come_late_is_followed_by_another_of_what_was_put_back() -> None:
    nginx = Front(ReloadLate("no new worker took over"))
    nginx.pin("api", ["api"], [OLD.address])
    with pytest.raises(ReloadLate):
        Pinning("api", ["api"], Gates([], False)).rotate(nginx, [OLD, NEW], [NEW.address])
    assert OLD.address in nginx.read and NEW.address not in nginx.read


def test_one_that_was_refused_is_followed_by_none() -> None:
    nginx = Front(NginxFailed("refused"))
    with pytest.raises(NginxFailed):
        Pinning("api", ["api"], Gates([], False)).rotate(nginx, [OLD, NEW], [NEW.address])
    assert not nginx.read and NEW.address not in nginx.hosts


def test_a_worker_in_the_place_of_one_that_died_has_the_configuration_of_before() -> None:
    worker = "nginx: worker process"
    told_to_end = Process(3, 1, 50.0, f"{worker} is shutting down")
    assert loaded_at([told_to_end, Process(4, 1, 100.0, worker), Process(9, 1, 900.0, worker)]) == 100.0
    assert loaded_at([told_to_end]) == 0.0


def in_container(hosts: Path) -> Nginx:
    return Nginx(Engine.__new__(Engine), {"Id": "1", "Name": "/nginx", "HostsPath": str(hosts)})


@pytest.mark.parametrize(
    "line",
    [
        b"172.20.0.9 api # evenkeel api module has a defect",
        b"172.20.0.9 api # evenkeel api later",
        b"172.20.0.9 api # evenkeel api inf",
        b"172.20.0.9 api # evenkeel api nan",
        b"$(id) api # evenkeel api 1700000000.000",
        b"172.20.0.9 caf\xe9 # evenkeel \xff\xfe 1",
        b"\xff\xfe\x00 # evenkeel",
    ],
)
def test_what_somebody_in_the_container_writes_in_its_hosts_file_is_no_pin(tmp_path: Path, line: bytes) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_bytes(b"127.0.0.1\tlocalhost\n" + line + b"\n")
    assert in_container(hosts).pins() == {}
    in_container(hosts).pin("api", ["api"], ["172.20.0.4"])
    assert in_container(hosts).pins()["api"].addresses == ("172.20.0.4",)
    if b"evenkeel api" in line:
        assert line not in hosts.read_bytes(), "what was named like ours goes with the next pin"
    else:
        assert line in hosts.read_bytes(), "what is not ours stays, byte for byte"


def test_a_hosts_file_without_end_is_refused_by_name(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    with hosts.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(NginxFailed, match="nginx: its /etc/hosts has more than 1024 KiB"):
        in_container(hosts).pins()
