# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the part of role update that migrates on a Compose project, and read its backups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bed.django_stack import NAME, PASSWORD, Stack
from tests.bed.shop import ROOT

# The part of the role that migrates, under the lock as the whole of it takes it.
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: evenkeel.deploy.app, public: true}
    - evenkeel.deploy.deploy_lock: {state_dir: "{{ app_state_dir }}", playbook: update, app_name: "{{ app_name }}"}
      register: lock
    - module_defaults:
        group/evenkeel.deploy.all: {state_dir: "{{ app_state_dir }}", lock_token: "{{ lock.lock_token }}"}
      block:
        - ansible.builtin.include_role: {name: evenkeel.deploy.update, tasks_from: pending.yml, public: true}
        - ansible.builtin.include_role: {name: evenkeel.deploy.update, tasks_from: migrations.yml, public: true}
        - ansible.builtin.debug: {msg: "told: {{ update_saved.results | default([]) | map(attribute='msg') | list }}"}
      always:
        - evenkeel.deploy.deploy_lock: {state_dir: "{{ app_state_dir }}", lock_token: "{{ lock.lock_token }}", state: released}
"""
RELEASE = "20260101T000000Z-1111111"


class App:
    """A Compose project as role update sees it."""

    def __init__(self, made: Stack) -> None:
        self.stack = made
        self.root = made.folder / "srv"
        self.backups = self.root / "backups"

    def update(self, **more: Any) -> str:
        """What the play printed, its exit code first."""
        self.root.mkdir(exist_ok=True)
        play = self.root / "play.yml"
        play.write_text(PLAY)
        known = {
            "app_name": NAME, "app_root": str(self.root), "app_repo": "unused", "backup_min_free": "0",
            "app_state_dir": str(self.root / ".evenkeel"),
            "update_release": {"release_path": str(self.stack.folder), "revision": "1" * 40, "current": "", "release": RELEASE},
            "operation_plan": {"rest": {"start": []}}, "operation_first": False, "operation_differs": True,
            "operation_touches": True, "update_checked": {}, **more,
        }  # fmt: skip
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), str(play), "-i", "localhost,", "-c", "local"]
        done = subprocess.run(
            [*argv, "-e", f"ansible_python_interpreter={sys.executable}", "-e", json.dumps(known)],
            cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=900,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        )  # fmt: skip
        output = " ".join((done.stdout + done.stderr).split())
        assert PASSWORD not in output
        return f"{done.returncode} {output}"

    def recorded(self) -> list[str]:
        """The migrations that the database has seen."""
        psql = [
            "exec",
            "-T",
            "db",
            "psql",
            "-U",
            "postgres",
            "shop",
            "-Atc",
            "SELECT name FROM django_migrations ORDER BY id",
        ]
        return self.stack.compose(*psql).split()

    def manifests(self) -> list[dict[str, Any]]:
        return [json.loads(p.read_text()) for p in sorted(self.backups.glob("*.json"))]
