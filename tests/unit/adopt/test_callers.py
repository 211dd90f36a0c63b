# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that call Compose for a folder are found where administrators put them, and shown without secrets."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.adopt.callers import (
    BESIDE,
    LINE,
    WHOLE,
    Caller,
    Folder,
    callers_in,
    report,
    shown,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.adopt.host import callers as host

HOME = "/home/deploy/app"
FOLDER = Folder("shop", (HOME, "~/app"), (f"{HOME}/docker-compose.prod.yml",))


def found(text: str, where: str = BESIDE) -> list[tuple[int, bool]]:
    return [(c.line, c.replaces) for c in callers_in("/x", text, FOLDER, where)]


@pytest.mark.parametrize(
    ("line", "replaces"),
    [
        ("docker compose up -d", True),
        ("docker-compose -f docker-compose.prod.yml up -d", True),
        ("/usr/bin/docker compose --file=docker-compose.prod.yml -p shop down", True),
        ("sudo docker --debug compose -f $FILE restart api", True),
        ("docker compose run --rm api python manage.py migrate", True),
        ('DC="docker compose -f docker-compose.prod.yml"', True),
        ("docker compose --env-file .env exec -T api python manage.py clearsessions", False),
        ("docker compose logs api && docker compose up -d", True),
        ("docker compose logs api | grep up", False),
        ("docker compose -f docker-compose.dev.yml up", None),
        ("docker compose -p other up", None),
        ("cat docker-compose.yml", None),
        ("my-docker compose up", None),
        ("# docker compose up -d", None),
        ("docker run --rm api", None),
    ],
)
def test_a_command_beside_the_compose_file(line: str, replaces: bool | None) -> None:
    assert found(line) == ([] if replaces is None else [(1, replaces)])


def test_lines_that_go_on_are_one() -> None:
    assert found("set -e\ndocker compose \\\n  -f docker-compose.dev.yml \\\n  up\n\ndocker compose \\\n up\n") == [
        (6, True)
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"0 4 * * * cd {HOME} && docker compose up -d", [(1, True)]),
        ("0 4 * * * cd ~/app; docker compose up -d", [(1, True)]),
        (f"0 4 * * * docker compose -f {HOME}/docker-compose.prod.yml exec -T api true", [(1, False)]),
        (f"0 4 * * * cd {HOME}2 && docker compose up -d", []),
        (f"0 4 * * * cd /srv{HOME} && docker compose up -d", []),
        ("0 4 * * * docker compose up -d", []),
    ],
)
def test_a_line_of_a_table_has_to_name_the_folder(line: str, expected: list[tuple[int, bool]]) -> None:
    assert found(line, LINE) == expected


def test_a_unit_names_the_folder_in_another_line() -> None:
    unit = f"[Service]\nWorkingDirectory={HOME}\nExecStart=/usr/bin/docker compose up\nExecStop=/usr/bin/docker compose down\n"
    assert found(unit, WHOLE) == [(3, True), (4, True)]
    assert found(unit.replace(HOME, "/srv/other"), WHOLE) == []


def test_who_runs_a_script_of_the_folder_calls_as_it_does() -> None:
    scripts = [Caller(f"{HOME}/deploy.sh", 2, "", True), Caller(f"{HOME}/Makefile", 1, "", False)]

    def called(line: str) -> list[bool]:
        return [c.replaces for c in callers_in("/x", line, FOLDER, LINE, scripts)]

    assert called(f"@daily root {HOME}/deploy.sh") == [True]
    assert called(f"@daily root make -C {HOME} logs") == [False]
    assert called(f"@daily root {HOME}/deploy.sh.old") == [] == called("@daily root /srv/deploy.sh")


def test_no_secret_is_shown() -> None:
    line = "DB_PASSWORD='s3 cr' docker compose run -e API_TOKEN=abc api sync --password hidden https://u:pw@example.com"
    text = shown(f"  {line} ")
    assert not any(s in text for s in ("s3", "abc", "hidden", "pw@")), text
    assert "docker compose run" in text and "DB_PASSWORD=" in text and "example.com" in text
    assert shown("cd /x && docker compose up -d") == "cd /x && docker compose up -d"


def test_what_is_told_depends_on_what_they_do() -> None:
    up, look = Caller("/a", 1, "up", True), Caller("/b", 2, "exec", False)
    assert report([], "shop") == []
    assert "adopt_stop_sign=true" in "\n".join(report([up], "shop")) and "  /a:1: up" in report([up], "shop")
    only_looks = "\n".join(report([look], "shop"))
    assert "would replace" not in only_looks and "docker compose -p shop" in only_looks and "/b:2: exec" in only_looks


def test_cron_systemd_and_scripts_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, root = tmp_path / "home/app", tmp_path / "root"
    owner = pwd.getpwuid(os.geteuid())
    known = pwd.struct_passwd((*owner[:5], str(tmp_path / "home"), owner[6]))
    monkeypatch.setattr(host.pwd, "getpwuid", lambda _uid: known)
    files = {
        home / "deploy": "#!/bin/sh\ndocker compose up -d\n",
        home / "bin/up.sh": "docker compose up -d\n",
        home / "notes.txt": "docker compose up -d\n",
        home / "large.sh": "docker compose up -d\n" + "#" * 300_000,
        root / "etc/crontab": f"1 * * * * root {home}/deploy\n",
        root / "etc/cron.d/app": "1 * * * * deploy cd ~/app && docker compose up -d\n",
        root / "etc/cron.daily/app": f"#!/bin/sh\ncd {home}\ndocker compose up -d\n",
        root / "var/spool/cron/crontabs/deploy": "1 * * * * cd $HOME/app && docker compose up -d\n",
        root / "etc/systemd/system/app.service": f"[Service]\nWorkingDirectory={home}\nExecStart=docker compose up\n",
        root
        / "etc/systemd/system/app.service.d/x.conf": f"[Service]\nExecReload=docker compose -f {home}/c.yml restart\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "etc/systemd/system/loop.d").symlink_to(root / "etc/systemd/system")
    found, unread = host.find("shop", str(home), [str(home / "c.yml")], ["bin/up.sh", "gone.sh"], str(root))
    assert {(Path(c.file).relative_to(tmp_path).as_posix(), c.line) for c in found} == {
        ("home/app/deploy", 2), ("home/app/bin/up.sh", 1), ("root/etc/crontab", 1), ("root/etc/cron.d/app", 1),
        ("root/etc/cron.daily/app", 3), ("root/var/spool/cron/crontabs/deploy", 1), ("root/etc/systemd/system/app.service", 3),
        ("root/etc/systemd/system/app.service.d/x.conf", 2),
    }  # fmt: skip
    assert all(c.replaces for c in found) and unread == []


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/crontab").write_text("")
    (tmp_path / "app").mkdir()

    def refused(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(host, "open_file", refused)
    _found, unread = host.find("shop", str(tmp_path / "app"), [], [], str(tmp_path / "root"))
    assert unread == [f"{tmp_path}/root/etc/crontab (Permission denied)"]
