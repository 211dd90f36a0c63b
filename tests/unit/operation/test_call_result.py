# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module ends: with its result, or with a sentence; a traceback is for whoever asks for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.result import finish


class Ended(BaseException):
    """As AnsibleModule ends: nothing after it is run."""


class FakeModule:
    """An AnsibleModule that notes how it ended."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {"a": 1}
        self.check_mode = True
        self.result: dict[str, Any] = {}

    def exit_json(self, **result: Any) -> None:
        self.result = result
        raise Ended

    def fail_json(self, msg: str, **result: Any) -> None:
        self.result = {"msg": msg, "failed": True, **result}
        raise Ended


def ending(outcome: Mapping[str, Any] | BaseException) -> dict[str, Any]:
    """What a module returns whose call returns or raises this."""
    module = FakeModule()

    def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
        assert (params, check_mode) == ({"a": 1}, True)
        if isinstance(outcome, BaseException):
            raise outcome
        return dict(outcome)

    with pytest.raises(Ended):
        finish(module, call)
    return module.result


def test_a_result() -> None:
    assert ending({"changed": True, "x": 1}) == {"changed": True, "x": 1}
    assert ending({"changed": False, "failed": False}) == {"changed": False}


def test_a_result_that_is_a_failure() -> None:
    assert ending({"changed": True, "failed": True, "msg": "m"}) == {"changed": True, "failed": True, "msg": "m"}


def test_bad_input_says_what_now_and_next() -> None:
    assert ending(BadInput("no service apo", "there are: api")) == {
        "failed": True,
        "changed": False,
        "msg": "What: no service apo\nNow: nothing was touched, what was serving still is\nNext: there are: api",
    }
    assert ending(BadInput("x"))["msg"].endswith("\nNext: correct that and run the same command again")


def test_a_full_disk_is_not_our_defect() -> None:
    message = ending(OSError(28, "No space left on device", "/srv/x"))["msg"]
    assert re.fullmatch(r"What: /srv/x: No space left on device \(at call:\d+\)", message.splitlines()[0])
    assert message.splitlines()[2].startswith("Next: see that there is room on the disk and permission")
    assert ending(OSError("odd"))["msg"].startswith("What: odd (at call:")


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("two\nlines"), AssertionError(), UnicodeError("u")])
def test_a_defect_is_a_sentence_with_its_place(error: Exception) -> None:
    result = ending(error)
    assert result["failed"] and "Traceback" not in result["msg"]
    # Ansible shows it with -vvv.
    assert result["exception"].startswith("Traceback") and type(error).__name__ in result["exception"]
    what = re.escape(f"What: this module has a defect: {type(error).__name__}: {error}")
    assert re.match(rf"{what} \(at call:\d+\)\nNow: ", result["msg"])
    assert result["msg"].endswith("\nNext: run the same command again with -vvv, and report what it shows")
    # Whether something was changed is not known then, so it is not claimed.
    assert "changed" not in result


def test_the_end_of_a_process_is_not_held_up() -> None:
    def interrupted(_params: Mapping[str, Any], _check: bool) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(FakeModule(), interrupted)
