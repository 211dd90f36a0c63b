# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python an image is asked with, by the very shell that chooses there: names, virtual environments, none at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.processes import Process
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import interpreter
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.interpreter import (
    run_by,
    those_that_run,
    words_for,
)


class Image:
    """A folder with programs that say who they are, and may have Django."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, path: str, django: bool = True) -> str:
        program = self.folder / path
        program.parent.mkdir(parents=True, exist_ok=True)
        # Asked for Django it would read what is given to the script, were it not kept from that.
        program.write_text(
            f'#!/bin/sh\nif [ "$1" = -c ]; then cat; exit {0 if django else 1}; fi\necho "{path}" "$@"; cat\n'
        )
        program.chmod(0o755)
        return str(program)

    def run(self, words: list[str], **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/sh", *words[1:], "manage.py", "a b"],
            env={"PATH": f"{self.folder}/bin:{self.folder}/tools", **environment},
            input="given",
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def image(tmp_path: Path) -> Image:
    found = Image(tmp_path)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/cat").symlink_to("/bin/cat")
    return found


@pytest.mark.parametrize("name", ["python", "python3"])
def test_it_may_be_called_either_way(image: Image, name: str) -> None:
    image.add(f"bin/{name}")
    assert image.run(words_for(django=True)) == (0, f"bin/{name} manage.py a b\ngiven")


def test_one_that_has_django_goes_before_one_that_has_not(image: Image) -> None:
    image.add("bin/python", django=False)
    image.add("bin/python3", django=False)
    environment = image.add("venv/bin/python")
    assert image.run(words_for([environment], django=True))[1].startswith("venv/bin/python manage.py")
    assert image.run(words_for([], django=True), VIRTUAL_ENV=f"{image.folder}/venv")[1].startswith("venv/bin/python")
    assert image.run(words_for([environment]))[1].startswith("bin/python manage.py"), "any will do"
    assert image.run(words_for([], django=True))[1].startswith("bin/python manage.py"), "it says itself what is missing"


def test_a_path_with_a_space_and_one_that_is_not_there(image: Image) -> None:
    odd = image.add("my env/bin/python")
    assert image.run(words_for(["/nowhere/python", odd], django=True))[1].startswith("my env/bin/python manage.py")


def test_an_image_without_any_says_so(image: Image) -> None:
    assert image.run(words_for(django=True)) == (127, "no python here\n")


def test_compose_is_told_the_shell_before_the_service_and_the_rest_behind_it() -> None:
    words = run_by("api")
    assert words[:4] == ["--entrypoint", "sh", "api", "-c"] and words[-1] == "sh"
    assert run_by("api", manage_py="backend/manage.py") == words
    assert run_by("api", manage_py="/srv/backend/manage.py") == ["--workdir", "/srv/backend", *words]


class Engine:
    def containers(self, _labels: Any) -> list[dict[str, Any]]:
        return [{"State": {"Pid": 10}}]


def test_where_the_running_app_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {
        10: ["/sbin/tini", "--", "start"],
        11: ["/opt/app/bin/python3.12", "/opt/app/bin/gunicorn", "shop.wsgi"],
        12: ["python", "manage.py", "runworker"],
    }
    monkeypatch.setattr(
        interpreter.processes, "tree", lambda pid: [Process(p, 1, 0.0, "") for p in words] if pid == 10 else []
    )
    monkeypatch.setattr(interpreter.processes, "words", words.__getitem__)
    monkeypatch.setattr(interpreter.processes, "environment", lambda pid: {"VIRTUAL_ENV": "/venv"} if pid == 12 else {})
    engine: Any = Engine()
    found = those_that_run(engine, "shop", "api")
    assert found == ("/opt/app/bin/python", "/opt/app/bin/python3", "/venv/bin/python")
    assert os.path.basename(found[0]) == "python", "another version of the app may have another version of it"
