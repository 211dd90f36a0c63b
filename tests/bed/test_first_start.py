# SPDX-License-Identifier: GPL-3.0-or-later
"""A first deployment that was killed between app and proxy: the same playbook again serves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.host import processes
from tests.bed.shop import ROOT, Shop, run


@pytest.mark.matrix
def test_a_first_deployment_killed_before_its_proxy_is_finished_by_the_next_run() -> None:
    shop = Shop("first")
    shop.destroy()
    try:
        shop.create()
        first = subprocess.Popen(
            shop.playbook_argv(update_version="v1"), cwd=ROOT, env=shop.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 240
        while shop.containers("api").get(f"{shop.name}-api-1") != "running":
            assert time.monotonic() < end and first.poll() is None, "the app never came up"
            time.sleep(0.05)
        for pid in [p.pid for p in processes.tree(first.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        first.wait(10)
        for name, state in shop.containers("nginx").items():
            assert state != "running", "killed too late"
            run(["docker", "rm", "-f", name])
        assert not (shop.root / "current").exists()
        again = shop.update("v1")
        assert again.returncode == 0, again.output[-4000:]
        assert (shop.version(), shop.leftovers()) == ("v1", [])
    finally:
        shop.destroy()
