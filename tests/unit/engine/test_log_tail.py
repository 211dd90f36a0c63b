# SPDX-License-Identifier: GPL-3.0-or-later
"""The last log lines since a change: of several containers in the order of time."""

from __future__ import annotations

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.log_tail import Writer, since_the_change

DAY = "2026-11-21T10:00:"
# 2026-11-21T10:00:00Z as UNIX time.
TEN = 1795255200.0


class Logs:
    """The engine, as far as it is asked here."""

    def __init__(self, **written: str) -> None:
        self.written = written

    def logs(self, container: str, lines: int, times: bool) -> str:
        assert times
        return "\n".join(self.written[container].splitlines()[-lines:])


def told(lines: int = 50, since: float = 0.0, **written: str) -> list[str]:
    writers = [Writer(name, name, since) for name in written]
    return since_the_change(Logs(**written), writers, lines)  # type: ignore[arg-type]


def test_lines_of_several_are_told_in_the_order_of_time() -> None:
    found = told(api=f"{DAY}01.5Z a\n{DAY}03.25Z c\n", celery=f"{DAY}02.123456789Z b\n")
    assert found == ["api: a", "celery: b", "api: c"]


def test_only_the_last_ones_are_told_and_none_where_none_are_asked_for() -> None:
    text = "".join(f"{DAY}0{n}Z line {n}\n" for n in range(9))
    assert told(2, api=text) == ["api: line 7", "api: line 8"] and told(0, api=text) == []


def test_what_was_written_before_the_change_is_not_told() -> None:
    assert told(since=TEN + 2, api=f"{DAY}01.9Z before\n{DAY}02.1Z after\n") == ["api: after"]


def test_empty_lines_are_left_out_and_a_line_without_a_moment_is_not() -> None:
    assert told(api=f"{DAY}01Z connects\n{DAY}02Z \nodd one\n") == ["api: connects", "api: one"]


def test_lines_of_one_moment_stay_in_their_order() -> None:
    assert told(api=f"{DAY}01Z z\n{DAY}01Z a\n") == ["api: z", "api: a"]
