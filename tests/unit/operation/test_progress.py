# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that a long module tells, how they reach the controller, and what of a strange output is believed."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.action.compose_rolling import ActionModule as Rolling
from ansible_collections.evenkeel.deploy.plugins.action.django_check import ActionModule as DjangoCheck
from ansible_collections.evenkeel.deploy.plugins.action.django_migrate import ActionModule as DjangoMigrate
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation import progress
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.progress import Progress, Relay, latest
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.progress import Line, as_json, read_lines

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


def test_a_full_disk_does_not_stop_the_work() -> None:
    made = Progress("/dev/full", os.open("/dev/full", os.O_WRONLY))
    made.say("x")
    made.close()


def test_who_attaches_sees_the_rest(tmp_path: Path) -> None:
    running = Progress.open(str(tmp_path), ID)
    for number in range(5):
        running.say(f"line {number}")
    mine = Progress.open(str(tmp_path), "e" * 32)
    relay = Relay(mine, str(tmp_path), last=2)
    relay.pump()
    running.say("later 1")
    relay.pump()
    # The next module of that operation has a file of its own.
    following = Progress.open(str(tmp_path), "d" * 32)
    following.say("later 2")
    os.utime(running.path, (1, 1))
    relay.pump()
    relay.pump()
    told, shown = read_lines(Path(mine.path).read_text(), 0)
    assert told[1:] == ["line 3", "line 4", "later 1", "later 2"]
    assert "another run" in told[0] and shown == 5


def test_only_what_may_take_long_is_followed() -> None:
    brief = {
        DjangoCheck: ({"service": "api"}, {"test_command": ""}),
        DjangoMigrate: ({"state": "planned"},),
    }
    followed = {
        DjangoCheck: ({"test_command": "manage.py test"},),
        DjangoMigrate: tuple({"state": s} for s in ("expanded", "contracted", "migrated", "reversed", "abandoned")),
        Rolling: ({"state": "planned"},),
    }
    for wanted, of in ((True, brief), (False, followed)):
        for action, several in of.items():
            assert [action.is_brief(action.__new__(action), args) for args in several] == [wanted] * len(several)
