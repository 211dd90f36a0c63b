# SPDX-License-Identifier: GPL-3.0-or-later
"""The power goes in the middle of an update, engine and all: ``status`` says what to run, and that converges."""

from __future__ import annotations

import re
import shlex
import signal

from tests.bed.server import Server
from tests.bed.server_evidence import AFTER_SWITCH, BEFORE_SWITCH


def told(server: Server) -> str:
    """What ``status`` prints."""
    play = server.begin_playbook("status", status_look_at=["drift"]).end()
    assert play.returncode == 0 and play.changed == 0, play.output[-3000:]
    return play.flat


def test_after_a_power_cut_in_the_middle_status_says_what_to_run() -> None:
    with Server("status-server") as server:
        first = server.update("v1")
        assert first.returncode == 0, first.output[-3000:]
        assert ": fine" in told(server)
        for version, place in (("v2", BEFORE_SWITCH), ("v1", AFTER_SWITCH)):
            begun = server.begin(version)
            begun.wait_for(place)
            # A controller that lives on finds its module killed, and goes back by itself.
            begun.process.send_signal(signal.SIGKILL)
            server.engine.cut_power()
            server.engine.power_on()
            server.engine.wait_for_engine(120)
            begun.end()
            said = told(server)
            assert ": unfinished" in said, said[-3000:]
            found = re.search(r"next: (ansible-playbook \S+ -e \S+?)['\s]", said)
            assert found, said[-3000:]
            words = shlex.split(found[1])
            assert words[:3] == ["ansible-playbook", "evenkeel.deploy.update", "-e"]
            name, _equals, target = words[3].partition("=")
            assert (name, target) == ("update_version", f"{version}-server")
            again = server.begin_playbook("update", update_version=target).end()
            assert again.returncode == 0, again.output[-3000:]
            assert server.version() == version and server.leftovers() == []
            assert ": fine" in told(server)
        # A hotfix is in an image and in a release, so it is there whatever starts the containers.
        source = server.folder / "dev"
        (source / "shop").mkdir(parents=True)
        (source / "shop/version.py").write_text('VERSION = "mended"\n', encoding="utf-8")
        fixed = server.begin_playbook("hotfix", hotfix_files="shop/version.py", hotfix_source=str(source)).end()
        assert fixed.returncode == 0 and server.version() == "mended", fixed.output[-3000:]
        server.engine.cut_power()
        server.engine.power_on()
        server.engine.wait_for_engine(120)
        assert server.serves_within(60) is not None and server.version() == "mended"
