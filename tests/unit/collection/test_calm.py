# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback ``calm``: which lines are shown for which events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.evenkeel.deploy.plugins.plugin_utils import calm_texts as texts
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.calm_phases import Phase, Task, phase_of
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.calm_story import Line, Story

ROOT = Path(__file__).parents[3]
FOREIGN = Phase("task", "never")
REFUSED = "What: v9 is not there\nNow: nothing was touched\nNext: name another one"


def task(name: str, action: str, **more: Any) -> Task:
    return Task(f"{action} {name}", name, action if "." in action else f"evenkeel.deploy.{action}", **more)


BUILD = task("Build images of: 3f2c1ab", "compose_build")
ROLL = task("Roll services to: 3f2c1ab", "compose_rolling")
LOCK = task("Take the lock: travel", "deploy_lock")
REPORT = task("Report the result", "ansible.builtin.debug")
OWN = task("Silence alerts", "ansible.builtin.uri")


def shown(lines: Iterable[Line]) -> list[str]:
    return [line.text for line in lines]


class Run:
    """A story whose clock goes on by a second with each event."""

    def __init__(self, live: bool = False, hosts: Iterable[str] = ("web1",)) -> None:
        self.story, self.now, self.lines = Story(live), 0.0, []
        for host in hosts:
            self.story.host(host)

    def starts(self, what: Task) -> Run:
        self.now += 1
        self.story.starts(what, self.now)
        return self

    def ok(self, what: Task, host: str = "web1", **result: Any) -> Run:
        self.now += 1
        self.lines += shown(self.story.ok(host, what, result, self.now))
        return self

    def runs(self, what: Task, **result: Any) -> Run:
        return self.starts(what).ok(what, **result)

    def fails(self, what: Task, host: str = "web1", ignored: bool = False, **result: Any) -> Run:
        self.now += 1
        self.lines += shown(self.story.failed(host, what, result, self.now, ignored))
        return self

    def says(self, text: str, host: str = "web1") -> Run:
        self.lines += shown(self.story.progress(host, text, self.now))
        return self

    def ends(self, hosts: int = 1) -> list[str]:
        return [*self.lines, *shown(self.story.ends(hosts))]


# -- phases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "action", "phase"),
    [
        ("Build images of: 3f2c1ab", "compose_build", Phase("build", "changed")),
        ("Plan the roll and check memory and disk", "compose_rolling", Phase("check", "unchanged")),
        ("Roll services to: 3f2c1ab", "compose_rolling", Phase("roll", "changed")),
        ("Run smoke tests: travel", "smoke_test", Phase("verify", "always")),
        ("Take the lock: travel", "deploy_lock", Phase("lock", "never")),
        ("Silence alerts", "ansible.builtin.uri", Phase("task", "never")),
        ("Start something of mine", "community.docker.docker_compose_v2", Phase("task", "never")),
        ("Forget what was asked", "ansible.builtin.set_fact", None),
        ("Forget what was asked", "set_fact", None),
        ("Report the result", "ansible.builtin.debug", None),
    ],
)
def test_a_task_belongs_to_a_phase(name: str, action: str, phase: Phase | None) -> None:
    assert phase_of(task(name, action)) == phase


def test_what_is_done_in_a_rescue_is_an_undo() -> None:
    back = task("Roll services back to: 3f2c1ab", "compose_rolling", undoing=True)
    assert phase_of(back) == Phase("undo", "changed")
    assert phase_of(task("Record the start of the undo", "deploy_lock", undoing=True)) == Phase("lock", "never")


def tasks_of(entries: Any) -> Iterable[dict[str, Any]]:
    for entry in entries if isinstance(entries, list) else []:
        yield entry
        for part in ("block", "rescue", "always"):
            yield from tasks_of(entry.get(part))


def test_each_module_of_ours_that_a_role_runs_has_a_phase() -> None:
    entries = [
        entry
        for path in ROOT.glob("roles/*/tasks/*.yml")
        for entry in tasks_of(yaml.safe_load(path.read_text("utf-8")))
    ]
    found = {
        f"{entry.get('name')} ({action})"
        for entry in entries
        for action in entry
        if action.startswith("evenkeel.deploy.") and phase_of(Task("", str(entry.get("name")), action)) == FOREIGN
    }
    assert found == set(), "give it a row in calm_phases.py"


def test_what_a_role_reports_whole_no_phase_tells_on_one_line() -> None:
    for path in ROOT.glob("roles/*/tasks/*.yml"):
        text = path.read_text("utf-8")
        for entry in tasks_of(yaml.safe_load(text)):
            module = next((key for key in entry if key.startswith("evenkeel.deploy.")), "")
            if module and re.search(rf"msg: .*{entry.get('register')}\.text\b", text):
                found = phase_of(Task("", entry["name"], module))
                assert found and found.tells == "never", f"{entry['name']}: its message is the report"


# -- a run that goes well ------------------------------------------------------------------------------------


def test_tasks_of_a_phase_are_one_line_with_its_seconds() -> None:
    run = Run()
    run.runs(LOCK).runs(task("Resolve the Compose project of: 3f2c1ab", "compose_project"), changed=True)
    run.runs(BUILD, changed=True, msg="built: travel-api:3f2c1ab")
    assert run.runs(ROLL, changed=True, msg="now serving: 3f2c1ab").ends() == [
        "  build       3.0 s  built: travel-api:3f2c1ab",
        "  roll        1.0 s  now serving: 3f2c1ab",
    ]


def test_a_phase_without_words_has_the_object_of_its_task() -> None:
    assert Run().runs(BUILD, changed=True).ends() == ["  build       1.0 s  3f2c1ab"]


def test_a_phase_that_changed_nothing_and_was_short_is_not_shown() -> None:
    assert Run().runs(BUILD).ends() == []
    long = Run().starts(BUILD)
    long.now += 10
    assert long.ok(BUILD).ends() == ["  build      11.0 s  3f2c1ab"]


def test_a_skipped_task_leaves_the_phase_alone() -> None:
    run = Run().runs(BUILD, changed=True).starts(ROLL).runs(BUILD, changed=True)
    assert run.ends() == ["  build       4.0 s  3f2c1ab"]


def test_a_lease_that_is_renewed_does_not_part_a_phase() -> None:
    run = Run().runs(BUILD, changed=True).runs(LOCK).runs(BUILD, changed=True)
    assert len(run.ends()) == 1


def test_a_report_is_shown_as_it_is_behind_its_phase() -> None:
    run = Run().runs(BUILD, changed=True).runs(REPORT, msg=["travel is at v2", "note: two\nlines"])
    assert run.ends() == ["  build       1.0 s  3f2c1ab", "travel is at v2", "note: two", "lines"]


def test_what_was_told_is_not_reported_again() -> None:
    run = Run().runs(REPORT, msg="travel on web1: v1 → v2, 1 commit").runs(ROLL, changed=True, msg="now serving: v2")
    run.runs(REPORT, msg=["travel is at v2", "v1 → v2, 1 commit", "now serving: v2"])
    assert run.ends()[-1] == "travel is at v2"


def test_where_an_update_leads_is_told_once() -> None:
    export = task("Export the version into a release: v2", "symlink_release")
    run = (
        Run().runs(export, changed=True, msg="v1 → v2, 1 commit").runs(REPORT, msg="travel on web1: v1 → v2, 1 commit")
    )
    assert run.runs(REPORT, msg="v1 → v2, 1 commit").ends() == ["  prepare     1.0 s  v1 → v2, 1 commit"]


def test_a_difference_is_told_once() -> None:
    run = Run()
    assert shown(run.story.difference("web1", "-a\n+b\n")) == ["-a", "+b"]
    assert run.story.difference("web1", "-a\n+b\n") == []


def test_a_report_that_says_a_line_twice_keeps_both() -> None:
    lines = ["- backups: none", "    next: backup", "- media: none", "    next: backup"]
    assert Run().runs(REPORT, msg=lines).ends() == lines


def test_somebody_elses_tasks_are_shown_by_name() -> None:
    assert Run().runs(OWN).ends() == ["  task        1.0 s  Silence alerts"]


def test_several_hosts_are_named_where_they_differ() -> None:
    run = Run(hosts=("web1", "web2")).starts(ROLL)
    run.ok(ROLL, "web1", changed=True, msg="now serving: v2").ok(ROLL, "web2", changed=True, msg="now serving: v2")
    run.starts(BUILD).ok(BUILD, "web1", changed=True, msg="built: a").ok(BUILD, "web2", changed=True, msg="built: b")
    run.starts(REPORT).ok(REPORT, "web2", msg="fine")
    assert run.ends() == [
        "  roll        2.0 s  now serving: v2",
        "  build       2.0 s  web1: built: a",
        "                     web2: built: b",
        "web2: fine",
    ]


# -- progress ------------------------------------------------------------------------------------------------


def test_progress_has_lines_of_its_own_in_a_file() -> None:
    run = Run().starts(ROLL).says("api: api-2 is ready after 3.0 s").ok(ROLL, changed=True, msg="now serving: v2")
    assert run.ends() == [
        f"  roll{' ' * 15}api: api-2 is ready after 3.0 s",
        "  roll        1.0 s  now serving: v2",
    ]


def test_progress_is_shown_in_place_on_a_terminal() -> None:
    run = Run(live=True).starts(ROLL)
    assert run.story.in_place(run.now + 2, 80) == "  roll        2.0 s  3f2c1ab"
    run.says("api: api-2 is ready after 3.0 s")
    assert run.story.in_place(run.now + 4, 80) == "  roll        4.0 s  api: api-2 is ready after 3.0 s"
    assert len(run.story.in_place(run.now, 30)) == 29
    assert run.starts(REPORT).story.in_place(run.now, 80) == ""
    assert run.lines == []


def test_waiting_for_the_lock_is_told() -> None:
    assert Run().starts(LOCK).says("another run is at work on this").lines[0].endswith("another run is at work on this")


def test_the_line_of_progress_is_read_back() -> None:
    assert texts.progress_line("web1", "api: [2] is ready") == "  [web1] api: [2] is ready"
    assert texts.read_progress(texts.progress_line("web1", "api: [2] is ready")) == ("web1", "api: [2] is ready")
    assert texts.read_progress("[WARNING]: something") is None


# -- a run that fails ----------------------------------------------------------------------------------------


def test_a_failure_is_the_end() -> None:
    run = Run().starts(BUILD).fails(BUILD, msg=REFUSED).starts(LOCK).ok(LOCK)
    assert run.ends() == ["  build       1.0 s  failed", *REFUSED.splitlines()]


def test_a_rescued_failure_is_a_line_and_not_the_end() -> None:
    roll = task("Roll services to: 3f2c1ab", "compose_rolling", rescued=True)
    back = task("Roll services back to: 1111111", "compose_rolling", undoing=True)
    run = Run().starts(roll).fails(roll, msg="What: api GET / answered 500\nNow: undone\nNext: correct it")
    assert run.runs(back, changed=True, msg="now serving: 1111111").ends() == [
        "  roll        1.0 s  failed: api GET / answered 500",
        "  undo        1.0 s  now serving: 1111111",
    ]


def test_of_two_failures_the_first_is_told_last() -> None:
    run = Run().starts(BUILD).fails(BUILD, msg=REFUSED).starts(LOCK).fails(LOCK, msg="What: no lock\nNow: so\nNext: x")
    assert run.ends()[-4:] == ["also failed: no lock", *REFUSED.splitlines()]


def test_with_several_hosts_each_line_names_its_host() -> None:
    run = Run(hosts=("web1", "web2")).starts(BUILD).fails(BUILD, "web2", msg=REFUSED)
    run.ok(BUILD, "web1", changed=True, msg="built: a")
    assert run.ends(2) == [
        "  build       2.0 s  web2: failed: v9 is not there",
        "                     web1: built: a",
        *(f"web2: {line}" for line in REFUSED.splitlines()),
    ]


def test_an_ignored_failure_of_another_module_is_a_line() -> None:
    run = Run().starts(OWN).fails(OWN, ignored=True, msg="Status code was 503")
    assert run.ends() == ["  task        1.0 s  failed, ignored: Silence alerts: Status code was 503"]


def test_a_failure_without_advice_is_given_some() -> None:
    own = task("Dump it", "ansible.builtin.command")
    run = Run().starts(own).fails(own, msg="non-zero return code", rc=1, stderr="a\nb\nc\nd: no such file")
    assert run.ends()[1:] == [
        "What: Dump it: non-zero return code", "  b", "  c", "  d: no such file",
        "Now: what earlier tasks did stays", "Next: the same command with -v shows all of it",
    ]  # fmt: skip


def test_of_a_traceback_only_its_last_line_is_shown() -> None:
    own = task("Ask", "ansible.builtin.uri")
    said = texts.failure(own, {"msg": "MODULE FAILURE", "module_stderr": "Traceback:\n  File x\nValueError: y"})
    assert "File x" not in said
    assert "ValueError: y" in said


def test_a_failure_in_a_loop_is_that_of_its_pass() -> None:
    result = {"msg": "One or more items failed", "results": [{"msg": "fine"}, {"failed": True, "msg": REFUSED}]}
    assert texts.failure(BUILD, result) == REFUSED


def test_a_person_s_own_words_are_all() -> None:
    assert texts.failure(task("Reject it", "ansible.builtin.fail"), {"msg": "not today"}) == "not today"


@pytest.mark.parametrize(("touched", "said"), [(False, "nothing was touched on it"), (True, "goes on by itself")])
def test_a_host_that_is_away_is_a_sentence(touched: bool, said: str) -> None:
    run = Run().starts(BUILD)
    if touched:
        run.ok(BUILD)
    run.lines += shown(run.story.unreachable("web1", BUILD, {"msg": "Failed to connect:\nno route"}, run.now))
    ended = "\n".join(run.ends())
    assert "web1 cannot be reached: Failed to connect: no route" in ended
    assert said in ended
    assert "\nNext: " in ended


# -- what must not be shown ----------------------------------------------------------------------------------

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("hidden", "result"),
    [
        (True, {"msg": SECRET, "changed": True}),
        (False, {"msg": SECRET, "changed": True, "censored": "hidden"}),
        (False, {"msg": SECRET, "changed": True, "_ansible_no_log": True}),
        (False, {"results": [{"msg": SECRET, "changed": True, "failed": True, "_ansible_no_log": True}]}),
    ],
)
def test_a_hidden_result_is_not_shown(hidden: bool, result: dict[str, Any]) -> None:
    for action in ("compose_build", "ansible.builtin.debug", "ansible.builtin.command", "ansible.builtin.fail"):
        one = task("Do it", action, hidden=hidden)
        run = Run().runs(one, **result).starts(one).fails(one, **result).fails(one, ignored=True, **result)
        assert SECRET not in "\n".join(run.ends())


def test_what_a_terminal_would_obey_is_left_out() -> None:
    run = Run().runs(REPORT, msg="fine\x1b[2J\r").runs(BUILD, changed=True, msg="built\x1b]0;x\x07")
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", "\n".join(run.ends()))


ODD: list[Any] = [None, "text", 7, [], [None], ["a", {"b": 1}], {"a": {"b": [1]}}, True, b"bytes"]


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("key", ["msg", "results", "changed", "stderr", "censored"])
def test_results_of_any_shape_are_shown(key: str, value: Any) -> None:
    for one in (BUILD, REPORT, OWN, task("Verify", "smoke_test")):
        run = Run().runs(one, **{key: value}).starts(one).fails(one, **{key: value})
        run.lines += shown(run.story.unreachable("web1", one, {key: value}, run.now))
        assert all(isinstance(line, str) and "\n" not in line for line in run.ends())


def test_a_report_of_data_can_be_read_as_json() -> None:
    assert json.loads("\n".join(Run().runs(REPORT, msg={"status": "fine", "findings": []}).ends())) == {
        "status": "fine", "findings": [],
    }  # fmt: skip


def test_a_variable_is_reported_by_its_name() -> None:
    assert Run().runs(REPORT, answer=42, changed=False).ends() == ["answer: 42"]
