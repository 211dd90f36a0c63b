# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long modules on the controller: started in the background, with their progress shown while they work.

The module goes on by itself on the target when this process ends or loses its connection.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.runtime import MISSING
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.progress import read_lines
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.calm_texts import progress_line
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.runtime import RuntimeAction

#: Seconds after which Ansible's wrapper would end the module: far more than any module of ours allows itself.
LIMIT = 7 * 24 * 3600
INTERVAL = 0.5
#: Seconds for which a lost connection is tried again.
PATIENCE = 60.0
_OF_ASYNC = ("ansible_job_id", "results_file", "started", "finished")
_KILLED = (
    "What: the module was killed on the target\nNow: what it had done stays, and nothing that served was taken away\n"
    "Next: run the same playbook again, it takes up from what it finds"
)
_LOST = (
    "What: the module has ended, but its result in {} cannot be read\nNow: what it had done stays\n"
    "Next: run the same playbook again, it takes up from what it finds"
)


def look_command(state_dirs: Sequence[str], progress_id: str, shown: int, job: str, results: str) -> str:
    """A shell command that prints the lines after the ``shown`` ones, and whether the module still works.

    :param state_dirs: where it may be; none where only the target knows, and the file's name is found under any then.
    :param results: Ansible's file for the job's result, which begins with "started" until that is there.
    """
    folders = [shlex.quote(folder) for folder in state_dirs] or ["/var/lib/evenkeel/*"]
    files = " ".join(f"{folder}/progress/{progress_id}.jsonl" for folder in folders)
    # The shell that runs this has these words in its own command line, and must not take itself for the job.
    masked = f"{shlex.quote(os.path.dirname(results))}/[{job[:1]}]{shlex.quote(os.path.basename(results)[1:])}"
    number = job.split(".")[0]
    return (
        f'for f in {files}; do [ -f "$f" ] && tail -n +{shown + 1} "$f"; done; '
        f'case "$(head -c 11 {masked})" in \'{{"started":\') '
        f"if grep -qs '[{number[:1]}]{number[1:]}' /proc/[0-9]*/cmdline; then echo '#works'; else echo '#gone'; fi;; "
        f"*) echo '#ended';; esac"
    )


def fetch_command(results: str) -> str:
    """A shell command that prints a job's result after a line of its own.

    ``async_status`` does the same by a module on the target, half a second or more on a busy one.
    """
    return f"echo '#result'; cat {shlex.quote(results)}"


def read_result(output: str) -> dict[str, Any]:
    """The result in what :func:`fetch_command` printed, empty where there is none; a terminal may have changed line ends."""
    text = output.partition("#result")[2]
    try:
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class LiveAction(RuntimeAction):
    """An action plugin for a module that takes ``progress_id``; a subclass needs nothing more."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """As ``normal`` does, in check mode, with C(no_log), and where the task has an C(async) of its own."""
        task = self._task
        if task.check_mode or task.no_log or task.async_val or self.is_brief(task.args):
            return super().run(tmp, task_vars)
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        answer = self.answer_at_once(task_vars)
        if answer:
            return {**result, **answer}
        ended = self._attend(False, task_vars)
        result.update(self._attend(True, task_vars) if ended.get(MISSING) else ended)
        return result

    def is_brief(self, args: Mapping[str, Any]) -> bool:
        """Whether these arguments ask for something short that changes nothing, which is not worth being followed.

        To start a module in the background, look at it, and fetch its result costs more than the start of another module.
        """
        return False

    def answer_at_once(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """The result where the module can say at once that nothing takes long; empty to start it and follow it."""
        return {}

    def _attend(self, send: bool, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Start the module in the background, show its progress, and return its result."""
        task = self._task
        progress_id = secrets.token_hex(16)
        arguments = {**task.args, "progress_id": progress_id}
        task.async_val = LIMIT
        try:
            begun = self.with_code(send, module_args=arguments, task_vars=task_vars, wrap_async=True)
        finally:
            task.async_val = 0
        job, results = str(begun.get("ansible_job_id") or ""), str(begun.get("results_file") or "")
        if not job or not results:
            return begun
        name = str(task.delegate_to or (task_vars or {}).get("inventory_hostname") or "target")
        works = self._follow(name, progress_id, job, results)
        return self._result_of(results) if works else {"failed": True, "msg": _KILLED}

    def _follow(self, name: str, progress_id: str, job: str, results: str) -> bool:
        """Show lines until the module has ended; False where it vanished without a result."""
        display, shown, pause, gone = Display(), 0, 0.1, 0
        while True:
            output = self._ask(look_command(self._state_dirs(), progress_id, shown, job, results))
            texts, shown = read_lines(output, shown)
            for text in texts:
                display.display(progress_line(name, text), stderr=True)
            words = output.split()
            if "#ended" in words and not texts:
                return True
            gone = gone + 1 if "#gone" in words else 0
            if gone > 2:
                return False
            if "#ended" not in words:
                time.sleep(pause)
                pause = min(INTERVAL, pause * 1.5)

    def _state_dirs(self) -> list[str]:
        args = self._task.args
        named = args.get("project_name")
        known = [args.get("state_dir") or (f"/var/lib/evenkeel/{named}" if named else ""), args.get("former_state_dir")]
        return [str(folder) for folder in known if folder]

    def _ask(self, command: str) -> str:
        """Run a command on the target; a connection that is lost for a moment is no reason to stop looking."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return str(self._low_level_execute_command(command).get("stdout") or "")
            except AnsibleConnectionFailure:
                if time.monotonic() > until:
                    raise
                time.sleep(2.0)

    def _result_of(self, results: str) -> dict[str, Any]:
        """The module's own result, without what running it in the background adds."""
        result = read_result(self._ask(fetch_command(results)))
        if not result:
            return {"failed": True, "msg": _LOST.format(results)}
        # By a command of its own: a connection that is lost while it is read must find it there the next time.
        self._ask(f"rm -f {shlex.quote(results)}")
        if result.get("failed") and str(result.get("msg")).startswith("Traceback") and "cmd" in result:
            return {"failed": True, "msg": _KILLED}
        for key in _OF_ASYNC:
            result.pop(key, None)
        result.get("invocation", {}).get("module_args", {}).pop("progress_id", None)
        # What it printed beside its result would be untrusted text; Ansible's own reader drops it as well.
        result.pop("stdout", None)
        return result
