# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output of a run as its phases: what takes each event of Ansible to ``calm_story``, and prints the lines of that."""

from __future__ import annotations

DOCUMENTATION = """
name: calm
type: stdout
short_description: A run as phases with what they did, and a failure as its last lines
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
description:
  - Shows one line for each phase of a run, such as C(build), C(migrate) and C(roll), with the seconds that it took and its outcome.
  - What roles report is shown once. Skipped tasks and tasks that only keep the playbook going are not shown.
  - While a phase goes on, a terminal shows its progress in one place; a file has a line for each step.
  - A run that fails ends with what failed, what serves now and what to do next. Nothing is printed after that.
  - With C(-v) and more, all is printed as P(ansible.builtin.default#callback) does. Its options count only then.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as C(stdout_callback) in the configuration
"""

EXAMPLES = """
# ansible.cfg
# [defaults]
# stdout_callback = evenkeel.deploy.calm
"""

import atexit
import contextlib
import functools
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible import constants as C
from ansible.playbook.block import Block
from ansible.plugins.callback.default import CallbackModule as Default

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.calm_phases import Task
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.calm_story import Line, Story
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.calm_texts import parts_of, read_progress

#: Seconds between two looks at the clock of a phase.
_TICK = 1.0
_ERASE = "\r\033[K"


def calmly(method: Callable[..., None]) -> Callable[..., None]:
    """An event that is shown as it is here, or as Ansible does with C(-v)."""

    @functools.wraps(method)
    def shown(self: CallbackModule, *args: Any, **kwargs: Any) -> None:
        if self._display.verbosity:
            getattr(super(CallbackModule, self), method.__name__)(*args, **kwargs)
            return
        try:
            with self._lock:
                method(self, *args, **kwargs)
        except Exception as error:
            # A result of a shape that nobody thought of: a run is not to look broken by its output.
            with contextlib.suppress(Exception):
                self._print([Line(f"({type(error).__name__}: this result cannot be shown; -v shows it)")])

    return shown


def sections_of(task: Any) -> tuple[bool, bool]:
    """Whether a block around a task has a rescue for it, and whether the task is part of one."""
    rescued = undoing = False
    child, parent = task, getattr(task, "_parent", None)
    while parent is not None:
        if isinstance(parent, Block) and parent.rescue:
            own = getattr(child, "_uuid", None)
            rescued = rescued or any(getattr(other, "_uuid", None) == own for other in parent.block or [])
            undoing = undoing or any(getattr(other, "_uuid", None) == own for other in parent.rescue or [])
        child, parent = parent, getattr(parent, "_parent", None)
    return rescued, undoing


class CallbackModule(Default):
    """See the documentation above."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "evenkeel.deploy.calm"

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._live = False
        self._drawn = False
        self._story = Story(False)

    # -- what prints ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """A run begins: progress of long modules, which comes by Ansible's display, is taken from there."""
        self._live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._story = Story(self._live)
        self._over.clear()
        display = self._display.display

        @functools.wraps(display)
        def show(msg: Any, *args: Any, **kwargs: Any) -> None:
            # A worker sends it to the process that began the run, and it comes by here once more.
            if os.getpid() != self._process:
                display(msg, *args, **kwargs)
                return
            found = read_progress(str(msg)) if kwargs.get("stderr") else None
            with self._lock:
                if found:
                    self._print(self._story.progress(*found, time.monotonic()))
                    self._draw()
                    return
                self._erase()
                display(msg, *args, **kwargs)

        self._display.display = show
        if self._live:
            # Whoever stops the run with ^C gets no event of it.
            atexit.register(self._end)
            threading.Thread(target=self._tick, daemon=True).start()

    def _end(self) -> None:
        """The run is over; warnings may follow."""
        self._over.set()
        with self._lock:
            self._erase()
        # The method of the class is there again.
        self._display.__dict__.pop("display", None)

    def _print(self, lines: Iterable[Line]) -> None:
        with self._lock:
            for line in lines:
                self._display.display(line.text, color=C.COLOR_ERROR if line.failed else None)
            # A file is to have it now, for whoever reads along.
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()

    def _draw(self) -> None:
        """Show in place what goes on."""
        with self._lock:
            if self._live and not self._over.is_set():
                width = shutil.get_terminal_size((80, 24)).columns
                line = self._story.in_place(time.monotonic(), width)
                self._erase()
                self._drawn = bool(line)
                self._write(line)

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(text)
            sys.stdout.flush()

    def _tick(self) -> None:
        while not self._over.wait(_TICK):
            if self._story.is_connected:
                self._draw()

    # -- what events are ------------------------------------------------------------------------------

    def _task(self, task: Any, name: str = "") -> Task:
        rescued, undoing = sections_of(task)
        shown = str(name or task.get_name()).rpartition(" : ")[2].strip()
        return Task(str(task._uuid), shown, str(task.action), rescued, undoing, bool(task.no_log))

    def _of(self, result: Any) -> tuple[str, Task, Mapping[str, Any], float]:
        """Host, task and result of an event, and when it came."""
        said = result._result if isinstance(result._result, Mapping) else {"msg": result._result}
        return result._host.get_name(), self._task(result._task, result.task_name), said, time.monotonic()

    def _warn(self, result: Any) -> None:
        if isinstance(result._result, dict):
            self._handle_warnings(result._result)

    @calmly
    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._begin()

    @calmly
    def v2_playbook_on_play_start(self, play: Any) -> None:
        checked = " (check mode: nothing is changed)" if play.check_mode else ""
        self._print(self._story.shows(f"{play.get_name().strip()}{checked}"))

    @calmly
    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._story.starts(self._task(task), time.monotonic())
        self._draw()

    @calmly
    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._story.starts(self._task(task), time.monotonic())
        self._draw()

    @calmly
    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._story.host(host.get_name())

    @calmly
    def v2_runner_on_ok(self, result: Any) -> None:
        self._warn(result)
        self._print(self._story.ok(*self._of(result)))

    @calmly
    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._warn(result)
        self._print(self._story.failed(*self._of(result), ignore_errors))

    @calmly
    def v2_runner_on_unreachable(self, result: Any) -> None:
        ignored = bool(result._task.ignore_unreachable)
        self._print(self._story.unreachable(*self._of(result), ignored))

    @calmly
    def v2_runner_retry(self, result: Any) -> None:
        host, task, said, now = self._of(result)
        self._print(self._story.retries(host, task, int(said.get("retries", 0)) - int(said.get("attempts", 0)), now))

    @calmly
    def v2_on_file_diff(self, result: Any) -> None:
        host, task, said, _now = self._of(result)
        changed = [part["diff"] for part in parts_of(said) if part.get("diff") and part.get("changed")]
        if not task.hidden and "censored" not in said:
            for text in filter(None, map(self._get_diff, changed)):
                self._print(self._story.difference(host, text))

    @calmly
    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._print(self._story.shows("No host of the inventory matches this play: nothing was done."))

    @calmly
    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._print(self._story.ends(len(stats.processed)))
        self._end()

    # -- what nobody has to see: what a loop did is in its result, and skipped tasks are none ------------

    @calmly
    def v2_playbook_on_no_hosts_remaining(self) -> None:
        pass

    @calmly
    def v2_runner_on_skipped(self, result: Any) -> None:
        self._warn(result)

    @calmly
    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._warn(result)

    @calmly
    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._warn(result)

    @calmly
    def v2_runner_item_on_skipped(self, result: Any) -> None:
        pass

    @calmly
    def v2_playbook_on_include(self, included_file: Any) -> None:
        pass

    @calmly
    def v2_playbook_on_notify(self, handler: Any, host: Any) -> None:
        pass

    @calmly
    def v2_runner_on_async_poll(self, result: Any) -> None:
        pass

    @calmly
    def v2_runner_on_async_ok(self, result: Any) -> None:
        pass

    @calmly
    def v2_runner_on_async_failed(self, result: Any) -> None:
        pass
