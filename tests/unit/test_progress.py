# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that a long module tells, how they reach the controller, and what of a strange output is believed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.decide import progress, steps
from ansible_collections.evenkeel.deploy.plugins.module_utils.decide.progress import Line, Narrator, as_json, read_lines
from ansible_collections.evenkeel.deploy.plugins.module_utils.decide.stack import Container, Stack
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.progress import Progress, latest
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.live import look_command

ID = "0123456789abcdef" * 2


def rows(*texts: str, first: int = 1) -> list[str]:
    return [as_json(Line("s", "api", "", 0.0, text), n) for n, text in enumerate(texts, first)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r\r\n"])
def test_lines_are_counted_whatever_ends_them(ending: str) -> None:
    output = ending.join([*rows("one", "two"), "#works", ""])
    assert read_lines(output, 0) == (["one", "two"], 2)
    assert read_lines(output, 1) == (["two"], 2)
    assert read_lines(output, 2) == ([], 2)


def test_a_torn_last_line_is_read_when_it_is_whole() -> None:
    whole = "\n".join(rows("one", "two"))
    for cut in range(1, len(rows("two", first=2)[0])):
        assert read_lines(whole[:-cut], 0) == (["one"], 1)
    assert read_lines(whole, 1) == (["two"], 2)


def test_what_has_mixed_in_is_passed_over() -> None:
    noise = ["Welcome to travel-1", '{"n": true}', "[1]", "7", '{"n": 9, "text": "from nowhere"}', "{"]
    assert read_lines("\n".join([*noise, *rows("one"), *noise]), 0) == (["one"], 1)


def test_a_terminal_is_told_nothing_to_obey() -> None:
    text = "api: \x1b[31mred\x07\r\n\u202eback" + "x" * 1000
    line = json.loads(as_json(Line("s", "", "", 0.0, text), 1))
    assert line["text"].startswith("api:  [31mred back")
    assert len(line["text"]) == progress.LONGEST
    assert read_lines(json.dumps({"n": 1, "text": "a\x1b[2Jb"}), 0) == (["a [2Jb"], 1)


@pytest.mark.parametrize("name", ["", "..", "../" + ID, ID.upper(), ID + "\n", ID[:-1]])
def test_a_name_that_is_none_makes_no_file(tmp_path: Path, name: str) -> None:
    Progress.open(str(tmp_path), name).tell(Line("s", "", "", 0.0, "x"))
    assert not list(tmp_path.rglob("*.jsonl"))


def test_the_file_is_private_new_and_no_link(tmp_path: Path) -> None:
    first = Progress.open(str(tmp_path), ID)
    first.say("api: one")
    path = Path(first.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert Progress.open(str(tmp_path), ID).path == ""
    other = "f" * 32
    os.symlink(tmp_path / "elsewhere", path.parent / f"{other}.jsonl")
    Progress.open(str(tmp_path), other).say("x")
    assert not (tmp_path / "elsewhere").exists()
    assert [json.loads(row)["text"] for row in path.read_text().splitlines()] == ["api: one"]


def test_only_the_latest_files_are_kept(tmp_path: Path) -> None:
    for number in range(30):
        made = Progress.open(str(tmp_path), f"{number:032x}")
        made.close()
        os.utime(made.path, (number, number))
    assert len(list(tmp_path.rglob("*.jsonl"))) == 21
    assert latest(str(tmp_path)).endswith(f"{29:032x}.jsonl")
    assert latest(str(tmp_path), made.path).endswith(f"{28:032x}.jsonl")


def test_a_full_disk_does_not_stop_the_work(tmp_path: Path) -> None:
    made = Progress.open(str(tmp_path), ID)
    os.close(made._handle)
    made._handle = os.open("/dev/full", os.O_WRONLY)
    made.say("x")
    made.close()


def test_who_attaches_sees_the_rest(tmp_path: Path) -> None:
    running = Progress.open(str(tmp_path), ID)
    for number in range(5):
        running.say(f"line {number}")
    mine = Progress.open(str(tmp_path), "e" * 32)
    rounds: list[int] = []

    def alive() -> bool:
        return len(rounds) < 3

    def sleep(_seconds: float) -> None:
        rounds.append(1)
        running.say(f"later {len(rounds)}")

    mine.relay(latest(str(tmp_path), mine.path), alive, last=2, sleep=sleep)
    told, shown = read_lines(Path(mine.path).read_text(), 0)
    assert told == ["line 3", "line 4", "later 1", "later 2", "later 3"]
    assert shown == 5


def test_the_command_finds_the_file_and_tells_whether_the_job_works(tmp_path: Path) -> None:
    state, jobs = tmp_path / "it's here", tmp_path / "async"
    jobs.mkdir()
    made = Progress.open(str(state), ID)
    for number in range(3):
        made.say(f"line {number}")
    job = "j98765432101.77"
    command = look_command(str(state), ID, 1, job, str(jobs / job))

    def look() -> str:
        return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout

    (jobs / job).write_text('{"started": true, "finished": false}')
    assert look().split()[-1] == "#gone"
    assert read_lines(look(), 1) == (["line 1", "line 2"], 3)
    with subprocess.Popen(["/bin/sh", "-c", "sleep 5; : j98765432101"]) as running:
        assert look().split()[-1] == "#works"
        running.kill()
    (jobs / job).write_text('{"changed": true, "started": "no"}')
    assert look().split()[-1] == "#ended"
    assert "/var/lib/evenkeel/*/progress/" in look_command("", ID, 0, job, "/root/j1.2")


def container(number: int, **changes: object) -> Container:
    return Container(f"id{number}", f"shop-api-{number}", "api", "image", "hash", **changes)  # type: ignore[arg-type]


def test_a_roll_is_told_in_plain_words() -> None:
    old, new = container(1), container(2, awaited_since=1.0, created_here=True)
    narrator = Narrator(frozenset({"api"}))
    texts: list[str] = []

    def after(step: steps.Step, now: float, *containers: Container, failure: str = "") -> None:
        texts.extend(line.text for line in narrator.after(step, Stack(now, containers), 0.1, failure))

    after(steps.Start((("api", 1),)), 0.0, old)
    after(steps.AwaitReady(("id2",)), 1.0, old, new)
    after(steps.AwaitReady(("id2",)), 12.0, old, container(2, awaited_since=1.0, last_answer="GET / answered 503"))
    ready = {"awaited_since": 1.0, "ready_since": 14.4}
    for now in (14.5, 14.6):
        after(steps.Prove(("id2",)), now, old, container(2, **ready))
    after(steps.Join("api", ("a",), ("id2",)), 15.0, old, container(2, **ready))
    for now in (16.0, 16.1, 27.0):
        after(steps.Drain(("id1",)), now, container(1, connections=3), container(2, joined_at=15.0, **ready))
    after(steps.Remove(("id1",)), 28.0, container(1, state="exited"), container(2, joined_at=15.0, **ready))
    after(steps.Settle("api"), 29.0, container(2, joined_at=15.0, **ready), failure="no nginx")
    after(steps.Undo("it never became ready"), 30.0, container(2, joined_at=15.0, fault="ended", **ready))
    assert texts == [
        "api: shop-api-2 was started",
        "api: shop-api-2 is not ready after 11 s: GET / answered 503",
        "api: shop-api-2 is ready after 13.4 s",
        "api: shop-api-2 is asked what users would ask",
        "api: shop-api-2 gets the requests of users now",
        "api: shop-api-1 ends what it has: 3 connections still open after 0 s",
        "api: shop-api-1 ends what it has: 3 connections still open after 11 s",
        "api: shop-api-1 has stopped",
        "api: shop-api-1 was removed",
        "settle failed: no nginx",
        "api: shop-api-2 ended",
        "going back: it never became ready",
    ]
