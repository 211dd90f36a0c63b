# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible shows what a module returns and never evaluates it: an app's output may hold any template.

A real module, by its own action plugin, runs a command whose name and output are templates; the play prints its result in each way
that a role of this collection does.  ``EVENKEEL_ANSIBLE_PLAYBOOK`` names the ``ansible-playbook`` of another version to try.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.app_on_a_server import App

ROOT = Path(__file__).parents[3]
ANSIBLE_PLAYBOOK = os.environ.get("EVENKEEL_ANSIBLE_PLAYBOOK") or str(Path(sys.executable).parent / "ansible-playbook")
#: Short and without single quotes: neither the cut nor the quotes of a shell, which messages have, would spare anybody.
EVIL = '{{ lookup("pipe", "touch evil-ran") }}{{ 6 * 7777 }}'

PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: See that a template of the play itself would be evaluated
      ansible.builtin.debug:
        msg: "{{ lookup('pipe', 'touch control-ran') }}"

    - name: Run what prints a template
      evenkeel.deploy.release_command:
        path: "{{ path }}"
        state_dir: "{{ path }}/.evenkeel"
        release: "{{ release }}"
        state: prepared
        commands: "{{ lookup('file', commands) | from_json }}"
      register: ended
      ignore_errors: true

    - name: Remember it as roles do
      ansible.builtin.set_fact:
        kept: "{{ {'msg': ended.msg, 'timeline': ended.timeline, 'lines': ended.msg.splitlines()} }}"

    - name: Print it as roles do
      ansible.builtin.debug:
        msg: "{{ said | select | list }}"
      vars:
        said: "{{ [kept.msg] + (kept.timeline | map(attribute='step') | list) + kept.lines }}"

    - name: Print it within a sentence
      ansible.builtin.debug:
        msg: "{{ item }}: {{ kept.msg | default('') }}"
      loop: "{{ kept.timeline | map(attribute='step') | list }}"
      when: item is search('lookup') and kept.msg is search('lookup')

    - name: Print a variable
      ansible.builtin.debug:
        var: ended.timeline

    - name: Test it
      ansible.builtin.assert:
        that: ended.msg is search('lookup') and kept.timeline[0].step is search('lookup')
        success_msg: "{{ ended.msg }}"

    - name: Fail with it
      ansible.builtin.fail:
        msg: "What: {{ ended.what }}"
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path)


def test_no_template_in_a_modules_result_is_evaluated(app: App, tmp_path: Path) -> None:
    # The lookup works in the play's folder.
    evil, control = tmp_path / "evil-ran", tmp_path / "control-ran"
    (app.root / "run.sh").write_text(f"cat <<'END'\n{EVIL}\nEND\nexit 3\n")
    commands = tmp_path / "commands.json"
    # From a file, as no inventory is: Ansible trusts what it reads of variables and plays.
    commands.write_text(json.dumps([["sh", "../../run.sh", EVIL]]))
    play = tmp_path / "play.yml"
    play.write_text(PLAY)
    variables = {
        "path": app.root,
        "release": app()["release"],
        "commands": commands,
        "ansible_python_interpreter": sys.executable,
    }
    done = subprocess.run(
        [ANSIBLE_PLAYBOOK, "-vvv", "-i", "localhost,", *(w for k, v in variables.items() for w in ("-e", f"{k}={v}")), str(play)],
        cwd=ROOT, env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(tmp_path), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert not evil.exists() and str(6 * 7777) not in printed, printed
    assert done.returncode == 2 and control.exists(), printed
    fatal = printed.index("TASK [Fail with it]")
    assert EVIL in printed[fatal:] and "ended with exit code 3" in printed[fatal:], printed
