# SPDX-License-Identifier: GPL-3.0-or-later
"""Which jobs' files one call of ``publish_build`` publishes, and how it says that they are shown to nobody."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.builds import Output
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.host import adopted_builds, publish
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.host.jobs_view import Jobs
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import publish_build
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.options import ProjectOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import adopted

DONE = {"changed": True, "files": 1, "replaced": 1, "removed": 0, "unhashed": []}


class Host:
    """Compose and the engine, as far as they are asked; every job has run and left its volume."""

    def __init__(self, folder: Path) -> None:
        self.project_src = str(folder)
        self.answer: dict[str, Any] = DONE
        self.ran: list[tuple[list[str], str]] = []

    def volumes(self, _label: str) -> set[str]:
        return {"built-shop", "built-admin", "built-part"}

    def containers(self, _labels: Any) -> list[Any]:
        return []

    brief = containers

    def run_by(self, project: dict[str, Any], *words: str, **_more: Any) -> str:
        mounts = project["services"]["evenkeel-publish"]["volumes"]
        self.ran.append(([str(m["source"]) for m in mounts], words[-1]))
        return f"\nEVENKEEL {json.dumps(self.answer)}\n"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made: Any = Host(tmp_path)
    parts = {"shop": ("shop", "html"), "part": ("part", "html"), "admin": ("admin", "admin")}
    outputs = {job: [Output(job, live, "/dist", f"built-{name}")] for job, (name, live) in parts.items()}
    services = {**{job: {"image": "b"} for job in parts}, "api": {"image": "a"}}
    view = Jobs(
        made, made, {"name": "travel", "services": services}, "1", str(tmp_path / "state"),
        dict.fromkeys(parts, "job"), dict.fromkeys(services, ""), list(parts), [], outputs,
    )  # fmt: skip
    for job in parts:
        Path(view.record_path(job)).parent.mkdir(parents=True, exist_ok=True)
        Path(view.record_path(job)).write_text('{"ended": "then"}')
    monkeypatch.setattr(publish, "jobs_in", lambda *_asked: view)
    return made  # type: ignore[no-any-return]


def call(host: Host, **more: Any) -> dict[str, Any]:
    params = {"project_src": host.project_src, "state": "published", "django_service": "api", "timeout": 5.0,
              "state_dir": f"{host.project_src}/state", "lock_token": None, **more}  # fmt: skip
    return publish_build.call(params, False)


def sent(script: str) -> set[str]:
    """The names of the modules that a script brings along (``engine/host/app_script.py``)."""
    found = re.search(r"b64decode\('([^']+)'\)", script)
    return (
        {name.rpartition(".")[2] for name, _source in json.loads(zlib.decompress(base64.b64decode(found[1])))}
        if found
        else set()
    )


def test_all_or_those_that_are_named_with_who_fills_the_same_folder(host: Host) -> None:
    assert call(host)["files"] == 2
    assert [mounts for mounts, _script in host.ran] == [["html", "built-shop", "built-part"], ["admin", "built-admin"]]
    host.ran.clear()
    assert call(host, services=["part"])["files"] == 1
    assert [mounts for mounts, _script in host.ran] == [["html", "built-shop", "built-part"]]
    assert "built_site" not in sent(host.ran[0][1])


def test_what_is_broken_is_said_with_why(host: Host) -> None:
    host.answer = {"refused": ["index.html: is empty", "nothing of it"]}
    with pytest.raises(BadInput) as caught:
        call(host, services=["admin"], refuse_broken=True)
    told = caught.value.message()
    assert "what admin built is shown to nobody: index.html: is empty; nothing of it" in told
    assert "nothing was touched" in told and "evenkeel.deploy.update" in told
    assert "built_site" in sent(host.ran[0][1])
    # The way back looks at nothing.
    host.answer = DONE
    call(host, state="restored", refuse_broken=True)
    assert "built_site" not in sent(host.ran[-1][1])


def test_the_first_publication_keeps_what_the_adopted_release_has_shown(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "srv"
    (root / "releases/0/.evenkeel").mkdir(parents=True)
    (root / "current").symlink_to("releases/0")
    (root / "releases/0/.evenkeel/returning.json").write_text('{"services": {"shop": {}}}')
    (tmp_path / "state").mkdir()
    adopted.write(str(tmp_path / "state"), {"release": "0", "files": []})
    services = {"shop": {"image": "b"}, "part": {"image": "b"}}
    engine: Any = Host(root / "releases/0")
    engine.image = lambda _name: {"Id": "sha256:b"}
    view = Jobs(
        engine, engine, {"name": "travel", "services": services}, "0", str(tmp_path / "state"), dict.fromkeys(services, "job"),
        dict.fromkeys(services, "sha256:b"), list(services), [],
        {job: [Output(job, "html", "/dist", f"kept-{job}")] for job in services},
    )  # fmt: skip
    asked: list[Any] = []

    def jobs_in(project: ProjectOptions, _lock: Any, _named: Any, service_options: Any, _django: str) -> Jobs:
        asked.append((project.project_src, list(project.files), service_options))
        return view

    monkeypatch.setattr(adopted_builds, "jobs_in", jobs_in)
    host.answer = {**DONE, "kept": True}
    about = {"releases_dir": f"{root}/releases", "service_options": {"new": {}, "shop": {}}}
    call(host, state="offered", **about)
    assert [mounts for mounts, _script in host.ran] == [
        ["html", "built-shop", "built-part", "kept-shop", "kept-part"],
        ["admin", "built-admin"],
    ]
    assert asked == [(str(root / "releases/0"), [".evenkeel/returning.json"], {"shop": {}})]
    # Its jobs count as run, so that going back starts none of them.
    assert all(view.is_done(job, {"kept-shop", "kept-part"}) for job in services)
    host.ran.clear()
    call(host, **about)
    assert host.ran[0][0] == ["html", "built-shop", "built-part"]
    # Once another release is current, it is not looked for any more.
    asked.clear()
    (root / "current").unlink()
    (root / "current").symlink_to("releases/1")
    call(host, **about)
    assert asked == []
