# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long modules on the controller: they go on in the background, and their progress is shown while they work.

Ansible's own way, C(async), packs and sends two modules and cannot show anything; and each look is a module.  Here one look
waits on the target for what is new.  The module goes on by itself on the target when this process ends or loses its connection.
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

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.runtime import GROUP, JOB, MISSING
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.progress import read_lines
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.calm_texts import progress_line
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.runtime import RuntimeAction

#: Seconds between two looks on the target, and how many of them one command makes where there is nothing new.
INTERVAL, LOOKS = 0.2, 25
#: Seconds for which a lost connection is tried again.
PATIENCE = 60.0
_KILLED = (
    "What: the module was killed on the target\nNow: what it had done stays, and nothing that served was taken away\n"
    "Next: run the same playbook again, it takes up from what it finds"
)
_LOST = (
    "What: the module has ended, but its result in {} cannot be read\nNow: what it had done stays\n"
    "Next: run the same playbook again, it takes up from what it finds"
)
_ENDED, _GONE = "#ended", "#gone"
# Each look takes what the shell itself can do and one `tail`, with as little of the processors as the module: users are served beside it.
_LOOK = """for g in /sys/fs/cgroup/cpu /sys/fs/cgroup; do
  {{ echo 0 > $g/{group}/cgroup.procs; }} 2>/dev/null && break
done
i=0
while :; do
  w=gone
  if [ -e {results} ]; then w=ended
  elif {{ read -r s < /proc/{pid}/stat; }} 2>/dev/null; then
    set -- ${{s##*) }}
    case "$1" in Z|X) ;; *) [ "${{20}}" != {started} ] || w=works;; esac
  fi
  [ $w != gone ] || [ ! -e {results} ] || w=ended
  t=$(for f in {files}; do [ -f "$f" ] && tail -n +{first} "$f"; done)
  [ $w = works ] && [ -z "$t" ] && [ $i -lt {looks} ] || break
  i=$((i+1)); sleep {interval} 2>/dev/null || sleep 1
done
printf '%s\\n' "$t" "#$w"
[ $w != ended ] || cat {results}
"""


def look_command(state_dirs: Sequence[str], progress_id: str, shown: int, job: Mapping[str, Any]) -> str:
    """A shell command that waits for something new, prints the lines after the ``shown`` ones, and how it is with the module.

    That is a line of its own; after ``#ended`` comes the result.  Where nothing is new it ends after some seconds all the same,
    since a connection that is lost is seen only by using it.

    :param state_dirs: where it may be; none where only the target knows, and the file's name is found under any then.
    :param job: what the module answered, see ``answer_and_go_on``.
    """
    folders = [shlex.quote(folder) for folder in state_dirs] or ["/var/lib/evenkeel/*"]
    return _LOOK.format(
        group=GROUP,
        results=shlex.quote(str(job["results"])),
        pid=int(job["pid"]),
        started=int(job["started"]),
        files=" ".join(f"{folder}/progress/{progress_id}.jsonl" for folder in folders),
        first=shown + 1,
        looks=LOOKS,
        interval=INTERVAL,
    )


def read_result(output: str) -> dict[str, Any]:
    """The result in what :func:`look_command` printed, empty where there is none; a terminal may have changed line ends."""
    text = output.partition(f"\n{_ENDED}")[2]
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
        """Whether these arguments ask for something short that changes nothing.

        To follow it takes a command more, a round trip where the target is far.
        """
        return False

    def answer_at_once(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """The result where the module can say at once that nothing takes long; empty to start it and follow it."""
        return {}

    def _attend(self, send: bool, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Start the module, show its progress while it goes on by itself, and return its result."""
        progress_id = secrets.token_hex(16)
        arguments = {**self._task.args, "progress_id": progress_id}
        begun = self.with_code(send, detach=True, module_args=arguments, task_vars=task_vars)
        job = begun.get(JOB)
        if not job:
            # It was refused, or the target has no room for the answer and it was waited for.
            return begun
        name = str(self._task.delegate_to or (task_vars or {}).get("inventory_hostname") or "target")
        return self._follow(name, progress_id, job)

    def _follow(self, name: str, progress_id: str, job: Mapping[str, Any]) -> dict[str, Any]:
        """Show lines until the module has ended, and return its result."""
        display, shown = Display(), 0
        while True:
            output = self._ask(look_command(self._state_dirs(), progress_id, shown, job))
            texts, shown = read_lines(output, shown)
            for text in texts:
                display.display(progress_line(name, text), stderr=True)
            # What the lines themselves say stands inside of JSON.
            words = {line.strip() for line in output.splitlines()}
            if _GONE in words:
                self._forget(str(job["results"]))
                return {"failed": True, "msg": _KILLED}
            if _ENDED in words:
                return self._result_of(output, str(job["results"]))
            if not texts:
                # A line that is none of ours would end each look at once.
                time.sleep(INTERVAL)

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

    def _result_of(self, output: str, results: str) -> dict[str, Any]:
        """The module's own result, without what following it adds."""
        result = read_result(output) or read_result(self._ask(f"printf '\\n{_ENDED}\\n'; cat {shlex.quote(results)}"))
        if not result:
            return {"failed": True, "msg": _LOST.format(results)}
        # By a command of its own: a connection that is lost while it is read must find it there the next time.
        self._forget(results)
        result.get("invocation", {}).get("module_args", {}).pop("progress_id", None)
        # What it printed beside its result would be untrusted text; Ansible's own reader drops it as well.
        result.pop("stdout", None)
        return result

    def _forget(self, results: str) -> None:
        self._ask(f"rm -rf {shlex.quote(os.path.dirname(results))}")
