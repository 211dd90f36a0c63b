# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress of a long module as a user sees it: locally, over ssh, with and without a terminal, pipelining, become."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.bed.ports import free_port
from tests.bed.shop import ROOT

LABEL = "evenkeel-progress"
MODULE = """#!/usr/bin/python
from __future__ import annotations
import os, signal, time
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.detached import answer_and_go_on
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.progress import PROGRESS_SPEC, Progress

module = AnsibleModule(
    {**PROGRESS_SPEC, "state_dir": {"type": "path"}, "lines": {"type": "int"}, "end": {"type": "str"}},
    supports_check_mode=True,
)

def work():
    progress = Progress.open(module.params["state_dir"], module.params["progress_id"] or "")
    for number in range(module.params["lines"]):
        progress.say(f"api: step {number} \\u00e9")
        time.sleep(0.3)
    if module.params["end"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if module.params["end"] == "failed":
        module.fail_json(msg="What: it failed", rolled_back=True, timeline=[{"started": "now"}])
    # What is imported late is still there.
    from ansible.module_utils.common import sys_info
    module.exit_json(changed=module.params["end"] == "changed", user=os.getuid(), serving={"started": 1})

if os.environ.get("DETACH"):
    answer_and_go_on(work)
else:
    work()
"""
ACTION = """from __future__ import annotations
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.live import LiveAction


class ActionModule(LiveAction):
    def with_code(self, send, detach=False, **how):
        # No call of the collection's own code: the module is packed as any other.
        self._task.environment = [{"DETACH": "1"}] if detach else []
        return self._execute_module(module_name="tell_slowly", **how)
"""
DOCKERFILE = f"""FROM evenkeel/python:3.13
LABEL evenkeel.bed={LABEL}
RUN apt-get update && apt-get install -y --no-install-recommends openssh-server sudo && mkdir -p /run/sshd \\
 && useradd --create-home --shell /bin/bash deploy && echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playbook folder with a module that takes its time."""
    made = tmp_path_factory.mktemp("play")
    for name, text in (("library/tell_slowly.py", MODULE), ("action_plugins/tell_slowly.py", ACTION)):
        (made / name).parent.mkdir()
        (made / name).write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[dict[str, Any]]:
    """A container with sshd on 127.0.0.1, a user with sudo, and a key that is thrown away."""
    key, port = folder / "key", free_port()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    own = f"label=evenkeel.bed={LABEL}"
    image = "evenkeel/progress-bed"
    argv = ["docker", "build", "--quiet", "--tag", image, "-"]
    subprocess.run(argv, input=DOCKERFILE, text=True, check=True, capture_output=True, timeout=240)
    try:
        public = key.with_suffix(".pub").read_text(encoding="utf-8")
        script = (
            'install -d -o deploy -m 700 /home/deploy/.ssh && echo "$KEY" > /home/deploy/.ssh/authorized_keys && '
            "chown deploy /home/deploy/.ssh/authorized_keys && exec /usr/sbin/sshd -D -e"
        )
        argv = ["docker", "run", "--detach", "--label", f"evenkeel.bed={LABEL}", "--env", f"KEY={public}"]
        argv += ["--publish", f"127.0.0.1:{port}:22", "--memory", "512m", image, "sh", "-c", script]
        subprocess.run(argv, check=True, capture_output=True)
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": port,
            "ansible_user": "deploy",
            "ansible_ssh_private_key_file": str(key),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlMaster=no",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        ready = ["ssh", "-i", str(key), "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o"]
        ready += ["UserKnownHostsFile=/dev/null", "deploy@127.0.0.1", "true"]
        for _attempt in range(50):
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.2)
        yield variables
    finally:
        found = subprocess.run(["docker", "ps", "-aq", "--filter", own], capture_output=True, text=True, check=True)
        for container in found.stdout.split():
            subprocess.run(["docker", "rm", "-fv", container], check=True, capture_output=True)
        subprocess.run(["docker", "rmi", "-f", image], check=False, capture_output=True)


def play(
    folder: Path,
    host: Mapping[str, Any],
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    task: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """One run of the module; the second value is its registered result."""
    wanted = {"state_dir": "/tmp/evenkeel progress", "lines": 4, "end": "changed", **parameters}
    tasks = [
        {"tell_slowly": wanted, "register": "told", "ignore_errors": True, **(task or {})},
        {
            "ansible.builtin.copy": {
                "content": "{{ told | to_json }}",
                "dest": str(folder / "result.json"),
                "mode": "0600",
            },
            "check_mode": False,
            "delegate_to": "localhost",
            "vars": LOCAL,
        },
    ]
    (folder / "result.json").unlink(missing_ok=True)
    book, inventory = folder / "play.yml", folder / "inventory.json"
    book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    inventory.write_text(json.dumps({"all": {"hosts": {"shop-1": dict(host)}}}), encoding="utf-8")
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), str(book), "-i", str(inventory), *arguments]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (folder / "result.json").exists(), done.stdout + done.stderr
    return done, json.loads((folder / "result.json").read_text(encoding="utf-8"))


def shown(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The progress lines."""
    return [line.strip() for line in done.stderr.splitlines() if line.startswith("  [shop-1] ")]


LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
ALL = [f"[shop-1] api: step {n} \u00e9" for n in range(4)]


@pytest.mark.parametrize("pipelining", ["True", "False"])
def test_locally(folder: Path, tmp_path: Path, pipelining: str) -> None:
    done, result = play(folder, LOCAL, environment={"ANSIBLE_PIPELINING": pipelining}, state_dir=str(tmp_path / "s t"))
    assert shown(done) == ALL, done.stdout + done.stderr
    assert result["changed"] is True
    # Nothing of how it was run is in the result.
    plain, direct = play(folder, LOCAL, state_dir=str(tmp_path / "s t"), task={"async": 60, "poll": 1})
    assert shown(plain) == []
    assert set(result) - set(direct) <= {"stderr", "stderr_lines"}
    assert set(direct) - set(result) <= {
        "ansible_job_id", "results_file", "started", "finished", "stdout", "stdout_lines", "stderr", "stderr_lines",
    }  # fmt: skip
    assert result["serving"] == {"started": 1}


def test_nothing_in_check_mode_and_nothing_with_no_log(folder: Path, tmp_path: Path) -> None:
    done, result = play(folder, LOCAL, "--check", state_dir=str(tmp_path), lines=1)
    assert shown(done) == []
    assert result["changed"] is True
    assert not (tmp_path / "progress").exists()
    done, _result = play(folder, LOCAL, state_dir=str(tmp_path), lines=1, task={"no_log": True})
    assert shown(done) == []


def test_a_failure_and_a_kill_come_back_as_such(folder: Path, tmp_path: Path) -> None:
    done, result = play(folder, LOCAL, state_dir=str(tmp_path), end="failed")
    assert shown(done) == ALL
    assert (result["failed"], result["msg"], result["rolled_back"]) == (True, "What: it failed", True)
    done, result = play(folder, LOCAL, state_dir=str(tmp_path), end="killed")
    assert shown(done) == ALL
    assert result["failed"] is True
    assert "was killed on the target" in result["msg"], result
    assert "Traceback" not in str(result)
    # One that is waited for.
    done, result = play(folder, LOCAL, "--check", state_dir=str(tmp_path), lines=0, end="killed")
    assert result["failed"] is True and "was killed on the target" in result["msg"], result
    assert "JSON" not in str(result) and "json" not in done.stdout


@pytest.mark.parametrize("tty", ("True", "False"))
def test_one_that_is_waited_for_is_killed_over_ssh(folder: Path, server: Mapping[str, Any], tty: str) -> None:
    own = {"ANSIBLE_PIPELINING": "False", "ANSIBLE_SSH_USETTY": tty}
    _done, result = play(folder, server, "--check", environment=own, lines=0, end="killed")
    assert result["failed"] is True and "was killed on the target" in result["msg"], result


@pytest.mark.parametrize(
    ("become", "tty", "pipelining"), itertools.product((False, True), ("True", "False"), ("True", "False"))
)
def test_over_ssh(folder: Path, server: Mapping[str, Any], become: bool, tty: str, pipelining: str) -> None:
    own = {"ANSIBLE_PIPELINING": pipelining, "ANSIBLE_SSH_USETTY": tty}
    state = f"/tmp/state of {'root' if become else 'deploy'}"
    done, result = play(folder, server, environment=own, task={"become": become}, state_dir=state)
    assert shown(done) == ALL, done.stdout + done.stderr
    assert result["changed"] is True
    assert (result["user"] == 0) is become
