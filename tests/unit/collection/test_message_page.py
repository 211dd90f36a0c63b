# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of messages is what the code says now, and misses none that a module refuses a call with."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
messages = importlib.import_module("message_page")


def test_the_page_is_of_now() -> None:
    assert messages.PAGE.read_text(encoding="utf-8") == messages.page(), "run scripts/message_page.py"


def test_every_room_that_refuses_something_is_on_it() -> None:
    rooms = {
        path.relative_to(messages.UTILS).parts[0]
        for path in messages.UTILS.rglob("*.py")
        if "raise BadInput(" in path.read_text()
    }
    assert rooms - set(messages.TITLES) == {"calls"}


def test_names_and_values_are_left_out(tmp_path: Path) -> None:
    source = tmp_path / "some.py"
    source.write_text(
        "raise BadInput(f'{name} is no file of {place!r}', 'name a file' ' that is there')\n"
        "raise GitFailed('the repository ' + why)\n"
        "raise TypeError('never meant for anybody here')\n"
        "raise BadInput(text, f'{one}{two}')\n"
    )
    assert list(messages.raised(source)) == [("… is no file of …", "name a file that is there")]


def test_what_roles_say_is_read_too(tmp_path: Path) -> None:
    tasks = tmp_path / "main.yml"
    tasks.write_text(
        "- name: Reject it\n  ansible.builtin.fail:\n    msg: |-\n      What: {{ one }} cannot come\n      back as it is\n"
        "      Now: nothing was touched\n      Next: take it back\n  when: true\n"
    )
    assert list(messages.said(tasks)) == [("… cannot come back as it is", "take it back")]
