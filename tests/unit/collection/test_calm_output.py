# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback ``calm`` under a real ``ansible-playbook``: what is printed, what is not, and what C(-v) brings back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLAY = """
- name: Try it
  hosts: "{{ which | default('all') }}"
  gather_facts: false
  tasks:
    - name: Fail and go on
      block:
        - name: Break
          ansible.builtin.command: sh -c 'echo torn >&2; exit 3'
      rescue:
        - name: Mend
          ansible.builtin.set_fact:
            mended: true
    - name: Ask what may be away
      ansible.builtin.command: "false"
      # Shown as a line of its phase, not as the end.
      ignore_errors: true
    - name: Use a secret
      ansible.builtin.command: "echo {{ 'hunter' ~ 2 }}"
      no_log: true
    - name: Lose a secret
      ansible.builtin.command: sh -c 'echo {{ "hunter" ~ 2 }} >&2; exit 1'
      no_log: true
      # Shown without a word of what it printed.
      ignore_errors: true
    - name: Show a difference
      ansible.builtin.copy:
        content: "after\\n"
        dest: "{{ playbook_dir }}/changed"
        mode: "0600"
    - name: Leave this out
      ansible.builtin.command: "false"
      when: false
    - name: Report
      ansible.builtin.debug:
        msg: [fine, "note: two"]
    - name: End it
      ansible.builtin.fail:
        msg: "What: it is over\\nNow: nothing was touched\\nNext: nothing"
      when: ends | default(true)
"""


def played(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code of the play, and what it printed."""
    (folder / "play.yml").write_text(PLAY)
    (folder / "changed").write_text("before\n")
    (folder / "hosts.yml").write_text(
        "all: {vars: {ansible_connection: local}, hosts: {one: , two: {ansible_connection: ssh, ansible_host: 127.0.0.1,"
        " ansible_port: 9}}}"
    )
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "evenkeel.deploy.calm",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_NOCOLOR": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_run_that_fails_ends_with_why(tmp_path: Path) -> None:
    code, output = played(tmp_path, "--limit", "one", "--diff")
    assert code == 2
    lines = [line.rstrip() for line in output.splitlines()]
    assert lines[-3:] == ["What: it is over", "Now: nothing was touched", "Next: nothing"]
    assert lines[0] == "Try it"
    assert any("failed: Break: non-zero return code" in line for line in lines)
    assert any("failed, ignored: Ask what may be away" in line for line in lines)
    assert {"-before", "+after", "fine", "note: two"} <= set(lines)
    for left_out in ("hunter2", "TASK [", "PLAY RECAP", "Leave this out", "Mend", "Traceback"):
        assert left_out not in output


@pytest.mark.parametrize("ends", ["true", "false"])
def test_with_several_hosts_the_last_lines_name_theirs(tmp_path: Path, ends: str) -> None:
    code, output = played(tmp_path, "-e", f"{{ends: {ends}}}")
    assert code != 0
    lines = output.splitlines()
    (away,) = [line for line in lines if line.startswith("two: What: two cannot be reached")]
    last = lines[lines.index(away) - (3 if ends == "true" else 0) :]
    assert [line.split(": ")[1] for line in last] == ["What", "Now", "Next"] * (2 if ends == "true" else 1)
    assert ("one: What: it is over" in last) is (ends == "true")
    assert "one: fine" in lines
    assert "UNREACHABLE!" not in output


def test_v_brings_everything_back(tmp_path: Path) -> None:
    _code, output = played(tmp_path, "--limit", "one", "-v")
    assert "TASK [Break]" in output
    assert "PLAY RECAP" in output
    assert "hunter2" not in output
