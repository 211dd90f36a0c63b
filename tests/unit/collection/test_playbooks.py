# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks started where nobody told Ansible of a server: they end as failed, and say where to start them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PLAYBOOKS = sorted(path for path in (ROOT / "playbooks").glob("*.yml") if path.stem != "init")


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_each_looks_whether_there_is_a_server(playbook: Path) -> None:
    (play,) = yaml.safe_load(playbook.read_text(encoding="utf-8"))
    assert "localhost" in play["hosts"], "a play without hosts runs nothing"
    assert play["pre_tasks"][0]["ansible.builtin.import_tasks"] == "tasks/known_server.yml"


def test_without_one_nothing_is_called_done() -> None:
    argv = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "/dev/null",
        str(ROOT / "playbooks/backup.yml"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    assert done.returncode != 0
    assert "run the same command in the folder that init wrote" in " ".join(f"{done.stdout}{done.stderr}".split())
