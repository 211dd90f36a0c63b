# SPDX-License-Identifier: GPL-3.0-or-later
"""What users are answered while a canary has requests: logs that grow, are rotated away, or cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.live_root import LiveRoot, RootFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import Master
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import user_answers
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.user_answers import UserAnswers

LINE = '1.1.1.1 - - [26/Nov/2026:20:00:00 +0000] "GET / HTTP/1.1" {} 5 "-" "curl"\n'


class HostNginx(Master):
    """The nginx of this machine, with one configuration file."""

    name = "nginx of this host"

    def __init__(self, text: str) -> None:
        self.text = text

    def dump(self) -> str:
        return f"# configuration file /etc/nginx/nginx.conf:\n{self.text}\n"


def answers(text: str, *addresses: str) -> UserAnswers:
    return UserAnswers(cast(Any, None), HostNginx(text), addresses)


def test_what_came_before_says_how_it_usually_goes(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(LINE.format(200) * 95 + LINE.format(500) * 5)
    found = answers(f"http {{ access_log {log}; }}")
    assert found.look() == ""
    with log.open("a") as stream:
        stream.write(LINE.format(200) * 90 + LINE.format(500) * 10)
    assert found.look() == "" and str(found.new) == "10 of 100"
    # Rotated away in between: what comes next is read from its beginning.
    log.write_text(LINE.format(500) * 15)
    assert "25 of 115" in found.look()
    log.unlink()
    assert "25 of 115" in found.look()
    assert "25 of 115" in user_answers.sentence("api", found)


def test_new_and_old_are_told_apart_where_the_log_says_who_answered(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    log.touch()
    text = f"http {{ log_format up '$status $upstream_addr'; access_log {log} up; }}"
    found = answers(text, "10.0.0.2")
    log.write_text("500 10.0.0.1:80\n" * 40 + "200 10.0.0.1:80\n" * 60 + "200 10.0.0.2:80\n" * 5)
    assert found.look() == "" and (str(found.new), str(found.old)) == ("0 of 5", "40 of 100")


@pytest.mark.parametrize("text", ["http { access_log off; }", "http { access_log /nowhere/at.all; }"])
def test_without_a_log_nothing_is_said_of_users(text: str) -> None:
    found = answers(text)
    assert found.look() == ""
    assert "judged by its own answers alone" in user_answers.sentence("api", found)
    assert "judged by its own answers alone" in user_answers.sentence("api", None)


def test_the_engines_log_is_read_on_where_it_was_left() -> None:
    said = [f"2026-11-26T20:00:0{n}.123456789Z {LINE.format(200).strip()}" for n in range(5)]

    class Logs:
        asked: list[tuple[int, float]] = []

        def logs(self, _container: str, lines: int, times: bool, since: float) -> str:
            self.asked.append((lines, since))
            assert times
            return "\n".join(said)

    class InContainer(HostNginx):
        id = "c1"

    engine = Logs()
    found = UserAnswers(cast(Engine, engine), InContainer("http { access_log /dev/stdout; }"), ())
    said += [f"2026-11-26T20:00:09.000000001Z {LINE.format(502).strip()}"] * 4
    assert "4 of 4" in found.look()
    # Whole seconds, so the last one comes once more, and counts once.
    assert engine.asked == [(2000, 0.0), (0, 1795723204.0)]


def test_no_link_leads_out_of_a_containers_log(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "var/log").mkdir(parents=True)
    (top / "var/log/a.log").symlink_to("/dev/stdout")
    (top / "logs").symlink_to("var/log")
    root = LiveRoot(0, str(top))
    assert (root.link("/var/log/a.log"), root.link("/var/log/b.log")) == ("/dev/stdout", "")
    with pytest.raises((OSError, RootFailed)):
        root.grown("/var/log/a.log", 0)
    with pytest.raises(RootFailed):
        root.link("/logs/a.log")
    (top / "var/log/c.log").write_bytes(b"0123456789")
    assert root.grown("/var/log/c.log", -4) == (b"6789", 10)
    assert root.grown("/var/log/c.log", 10) == (b"", 10)
    assert root.grown("/var/log/c.log", 11) == (b"0123456789", 10)
