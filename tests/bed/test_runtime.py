# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of the modules on a target: sent once, used by each, replaced where it is not what it should be."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.bed.front import docker, remove_labelled
from tests.bed.users import until

ROOT = Path(__file__).parents[2]
LABEL = "evenkeel.bed=runtime"
IMAGE = "evenkeel/python:3.13"
SYSTEM = "/var/cache/evenkeel"
CALLS = "ansible_collections.evenkeel.deploy.plugins.module_utils.calls"
#: A part of the name of what is sent; Ansible's most talkative output has it where it was.
SENT = "evenkeel-runtime"


class Answer:
    """How one ``ansible -m`` ended: its result, and everything else it printed."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.output = done.stdout + done.stderr
        self.sent = SENT in self.output
        _before, arrow, after = done.stdout.rpartition(" => {")
        assert arrow, self.output[-3000:]
        self.result: dict[str, Any] = json.JSONDecoder().raw_decode("{" + after)[0]


class Target:
    """A container with Python, ssh's place taken by ``docker exec``."""

    def __init__(self, name: str, *options: str) -> None:
        self.name = name
        docker("run", "--detach", "--init", "--name", name, "--label", LABEL, *options, IMAGE, "sleep", "3600")
        docker("exec", name, "useradd", "--create-home", "deploy")
        docker("exec", name, "useradd", "--create-home", "other")

    def ansible(self, *options: str, module: str = "deploy_lock", pipelining: bool = False, **arguments: str) -> Answer:
        """Run one module; without arguments ``deploy_lock`` with a state directory of the user's own."""
        own = {} if module == "call" else {"state_dir": "/tmp/state-{{ ansible_user | default('root') }}"}
        given = arguments or own
        argv = [str(Path(sys.executable).parent / "ansible"), self.name, "-i", f"{self.name},", "-vvvv"]
        argv += [
            "-c",
            "community.docker.docker",
            "-m",
            f"evenkeel.deploy.{module}",
            "-a",
            json.dumps(given) if given else "",
        ]
        argv += ["-e", "ansible_python_interpreter=/usr/bin/python3", *options]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": str(pipelining)}
        environment |= {"ANSIBLE_BECOME_METHOD": "su", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        return Answer(
            subprocess.run(
                argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=180,
                stdin=subprocess.DEVNULL,
            )
        )  # fmt: skip

    def sh(self, script: str) -> str:
        """Run a script of the shell as root."""
        return docker("exec", self.name, "sh", "-c", script)

    def kept(self, folder: str = SYSTEM) -> list[str]:
        """The files of code in a folder, with owner and mode."""
        found = self.sh(f"cd {folder} 2>/dev/null && stat -c '%U %a %n' * 2>/dev/null || true").splitlines()
        return [line for line in found if not line.endswith(".waiting")]

    def waiting(self) -> list[int]:
        """The processes that wait for a module; the kernel knows the names of their sockets from when they were made."""
        return [
            int(line.rpartition(".")[2]) for line in self.sh("cat /proc/net/unix").splitlines() if ".waiting." in line
        ]


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    remove_labelled(LABEL)
    try:
        yield Target("evenkeel-light")
    finally:
        remove_labelled(LABEL)


@pytest.fixture
def bare(target: Target) -> Target:
    """The target without any code of ours, and nobody who waits."""
    for pid in target.waiting():
        target.sh(f"kill -9 {pid}")
    target.sh(f"rm -rf {SYSTEM} /root/.cache /home/*/.cache /tmp/state-*")
    return target


def held(answer: Answer) -> bool:
    return str(answer.result.get("msg")).startswith("the lock is held")


@pytest.mark.parametrize("pipelining", [False, True])
def test_it_is_sent_once(bare: Target, pipelining: bool) -> None:
    first = bare.ansible(pipelining=pipelining)
    assert held(first) and first.sent, first.output[-3000:]
    (file,) = bare.kept()
    assert file.startswith("root 644 ") and file.endswith(".cpython-313.runtime")
    again = bare.ansible(pipelining=pipelining)
    assert held(again) and not again.sent
    assert bare.kept() == [file]
    # A user without root's rights runs what root has left, and needs none of its own.
    user = bare.ansible("-u", "deploy", pipelining=pipelining)
    assert held(user) and not user.sent, user.output[-3000:]


def test_the_next_module_of_an_operation_is_run_by_a_process_that_waits_for_it(bare: Target) -> None:
    own = {"state_dir": "/tmp/state-root"}
    taken = bare.ansible(**own)
    assert held(taken), taken.output[-3000:]
    until(lambda: len(bare.waiting()) == 1)
    (waiting,) = bare.waiting()
    token = {**own, "lock_token": taken.result["lock_token"]}
    renewed = bare.ansible(**token, state="renewed")
    assert "failed" not in renewed.result, renewed.output[-3000:]
    # It has become the module and has ended, and its own copy waits.
    until(lambda: len(bare.waiting()) == 1)
    assert bare.waiting() != [waiting]
    released = bare.ansible(**token, state="released", playbook="update", app_name="x", target="v1")
    assert "failed" not in released.result, released.output[-3000:]
    assert bare.waiting() == []
    assert ".waiting" not in bare.sh(f"ls {SYSTEM}")


def test_check_mode(bare: Target) -> None:
    answer = bare.ansible("--check")
    assert answer.result["msg"], answer.output[-3000:]
    assert "failed" not in answer.result
    assert bare.sh("ls /tmp/state-root 2>/dev/null || echo none") == "none\n"


@pytest.mark.parametrize(
    "options",
    [["-u", "deploy"], ["-b", "--become-user", "deploy"], ["-u", "deploy", "-e", "ansible_shell_executable=/bin/bash"]],
)
def test_a_user_who_is_not_root_keeps_its_own(bare: Target, options: list[str]) -> None:
    first = bare.ansible(*options, state_dir="/tmp/state-own")
    assert held(first) and first.sent, first.output[-3000:]
    assert bare.kept() == []
    (file,) = bare.kept("/home/deploy/.cache/evenkeel")
    assert file.startswith("deploy 644 ")
    again = bare.ansible(*options, state_dir="/tmp/state-own")
    assert held(again) and not again.sent
    # Root does not run what another user could have written.
    root = bare.ansible()
    assert held(root) and root.sent


@pytest.mark.parametrize(
    ("harm", "sent"),
    [
        ("truncate -s 100000 *.runtime", True),
        (": > $(ls *.runtime)", True),
        ("rm *.runtime", True),
        ("chown other *.runtime", True),
        ("chmod o+w *.runtime", True),
        ("chown other .", True),
        ("chmod 1777 .", True),
        ("cd / && mv /var/cache/evenkeel /var/moved && ln -s /var/moved /var/cache/evenkeel", True),
        ("touch -d '1 year ago' *.runtime", False),
    ],
)
def test_what_is_not_as_it_should_be_is_sent_again_and_heals(bare: Target, harm: str, sent: bool) -> None:
    bare.ansible()
    bare.sh(f"cd {SYSTEM} && {harm}")
    answer = bare.ansible()
    assert held(answer) and answer.sent is sent, answer.output[-3000:]
    assert "cannot be kept" not in answer.output
    again = bare.ansible()
    assert held(again) and not again.sent
    bare.sh("rm -rf /var/moved")


def test_old_versions_go_and_two_at_once_leave_one_file(bare: Target) -> None:
    old = " ".join(f"{n}.cpython-313.runtime" for n in range(6))
    bare.sh(
        f"mkdir -p {SYSTEM} && cd {SYSTEM} && touch -d '1 day ago' {old} && touch -d '1 day ago' left.part && touch a.part"
    )
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda n: bare.ansible(state_dir=f"/tmp/state-{n}"), range(2)))
    assert all(held(answer) for answer in answers), [answer.output[-2000:] for answer in answers]
    names = [line.split()[-1] for line in bare.kept()]
    assert len([name for name in names if name.endswith(".runtime")]) == 4
    assert [name for name in names if name.endswith(".part")] == ["a.part"]


def test_in_the_background(bare: Target) -> None:
    answer = bare.ansible("-B", "60", "-P", "1")
    assert held(answer), answer.output[-3000:]
    (_file,) = bare.kept()
    # Followed while it works, and so run in the background by its own action plugin, which then sends what is missing.
    bare.sh(f"rm -rf {SYSTEM}")
    refused = bare.ansible(module="compose_rolling", project_src="/srv/nowhere")
    assert refused.sent and "Now: nothing was touched" in refused.result["msg"], refused.output[-3000:]
    assert "job" not in refused.result and "evenkeel_runtime_missing" not in refused.result


def test_every_module_finds_its_code_there(target: Target, tmp_path: Path) -> None:
    modules = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "call")
    tasks = [
        {"name": name, f"evenkeel.deploy.{name}": {}, "ignore_errors": True, "check_mode": True} for name in modules
    ]
    book = tmp_path / "all.yml"
    book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), str(book), "-i", f"{target.name},"]
    argv += ["-c", "community.docker.docker", "-e", "ansible_python_interpreter=/usr/bin/python3"]
    began = time.monotonic()
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    specs = [importlib.import_module(f"{CALLS}.{name}").SPEC for name in modules]
    needing = [spec for spec in specs if any(option.get("required") for option in spec.values())]
    assert done.stdout.count("msg: 'missing required arguments: ") == len(needing) >= 25, done.stdout[-5000:]
    assert "ok: [" in done.stdout and "is not on this target" not in done.stdout, done.stdout[-5000:]
    print(f"\nevidence: {len(modules)} modules refused their arguments in {time.monotonic() - began:.1f} s")


def test_what_runs_the_code_of_all_is_no_module_for_users(target: Target) -> None:
    refused = target.ansible(module="call")
    assert "Next: call the module that is wanted by its full name" in refused.result["msg"], refused.output[-3000:]
    named = target.ansible(state_dir="/tmp/state", state_dri="/tmp/state")
    assert "Unsupported parameters for (evenkeel.deploy.deploy_lock) module: state_dri" in named.result["msg"]


def test_on_a_full_disk_the_module_works_and_says_what_it_costs() -> None:
    full = Target("evenkeel-light-full", "--tmpfs", "/var/cache:size=1m", "--tmpfs", "/root/.cache:size=1m")
    for _time in range(2):
        answer = full.ansible()
        assert held(answer) and answer.sent, answer.output[-3000:]
        (warning,) = (line for line in " ".join(answer.output.split()).split("[WARNING]: ") if "cannot be kept" in line)
        assert warning.count("No space left on device") == 2, warning
        assert full.kept() == []
