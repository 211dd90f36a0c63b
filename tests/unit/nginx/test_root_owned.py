# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process is believed to be the nginx of this host: none that another user has given its title."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import root_owned
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import HostNginx, NginxFailed

NOBODY = 65534


@contextmanager
def titled(title: str, program: str, user: int | None) -> Iterator[int]:
    """A process with a title of its own choice; its id."""
    script = ["bash", "-c", 'exec -a "$1" "$2" 60', "bash", title, program]
    process = subprocess.Popen(script, user=user if os.geteuid() == 0 else None, cwd="/")
    try:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(title.encode()):
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def believed() -> int:
    """The process that is taken for the nginx of this host, 0 for none."""
    try:
        return HostNginx().pid
    except NginxFailed as error:
        assert "more than one" not in str(error)
        return 0


@pytest.mark.parametrize("user", [NOBODY, 0])
def test_a_title_makes_no_nginx(tmp_path: Path, user: int) -> None:
    before = believed()
    title = f"nginx: master process /usr/sbin/nginx -c {tmp_path}/evil.conf"
    with titled(title, "/bin/sleep", user) as pid:
        assert believed() == before != pid
        assert not root_owned.is_roots(pid, ("nginx",))


def test_a_setuid_program_is_its_users() -> None:
    assert root_owned.all_roots("Name:\tnginx\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
    assert not root_owned.all_roots("Name:\tsu\nUid:\t1000\t0\t0\t0\n")
    assert not root_owned.all_roots("Name:\tnginx\nUid:\t33\t33\t33\t33\n")
    assert not root_owned.all_roots("")


def test_what_others_can_change_is_named(tmp_path: Path) -> None:
    assert root_owned.changeable("/etc/passwd") == ""
    # A link of root's leads out of what is root's alone.
    file = tmp_path / "nginx.conf"
    file.write_text("", encoding="utf-8")
    assert str(tmp_path.parts[1]) in root_owned.changeable(str(file))
    assert "No such file" in root_owned.changeable("/etc/none.conf")


def test_the_main_process_is_asked_of_the_service_alone() -> None:
    asked = {"nginx.service": "42\n", "odd.service": ""}
    of = {
        "0::/system.slice/nginx.service\n": 42,
        "12:pids:/system.slice/nginx.service\n1:name=systemd:/system.slice/nginx.service\n": 42,
        "0::/system.slice/odd.service\n": 0,
        "0::/user.slice/user-0.slice/session-1.scope\n": 0,
        "0::/system.slice/docker-0123.scope\n": 0,
        "": 0,
    }
    for cgroup, pid in of.items():
        assert root_owned.main_pid(cgroup, asked.__getitem__) == pid, cgroup
