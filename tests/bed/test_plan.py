# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbook ``plan`` says of a version, that it touches nothing, and that the update does just that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.repository import add_commit
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Play, Shop, run
from tests.bed.shop_snapshot import ids_of, there

NGINX = "deploy/nginx.conf"
PLACE = "    location / {\n"


def plan(shop: Shop, version: str, *arguments: str, **variables: Any) -> Play:
    """Run the playbook ``plan`` to its end."""
    return shop.play(*arguments, playbook="plan", update_version=version, **variables)


def untouched(shop: Shop) -> dict[str, Any]:
    """Everything that a plan may not change; images and a release are made by it, and git is asked."""
    return {key: value for key, value in there(shop).items() if key not in ("images", "releases", "refs")}


def rows(play: Play) -> dict[str, str]:
    """The table: name of each row → what it says, with what follows it in further lines."""
    found: dict[str, str] = {}
    name = ""
    for line in play.output.splitlines():
        text = line.strip().removeprefix("- ").strip("'\"")
        words = text.split(None, 1)
        if text.startswith("plan of "):
            found = {"plan": text}
        elif found and words and words[0] in ("files", "build", "backup", "migrate", "replace", "strategy", "gap", "time",
                                              "memory", "risk") and len(words) == 2:  # fmt: skip
            name = words[0]
            found.setdefault(name, words[1])
        elif found and name and text and "strategy" not in found:
            found[name] += f"; {text}"
    return found


def other(shop: Shop) -> str:
    return "v2" if shop.version() == "v1" else "v1"


def test_the_update_does_what_the_plan_said_and_the_plan_nothing(shop: Shop) -> None:
    version, before = other(shop), untouched(shop)
    play = plan(shop, version)
    assert play.returncode == 0, play.output[-4000:]
    said = rows(play)
    assert "code (" in said["files"] and "static (" in said["files"] and "template (" in said["files"], play.output[
        -3000:
    ]
    assert said["strategy"].startswith("rolling") and said["gap"] == "none" and said["risk"].startswith("low"), said
    assert untouched(shop) == before
    assert f"to do it: ansible-playbook evenkeel.deploy.update -e update_version={version}" in play.flat

    containers = ids_of(shop)
    done = shop.update(version)
    assert done.returncode == 0, done.output[-4000:]
    # Images are there now: they are not built again, and all else is as it was planned.
    assert {k: v for k, v in rows(done).items() if k not in ("build", "time", "memory")} == {
        k: v for k, v in said.items() if k not in ("build", "time", "memory")
    }
    replaced = {service for service, container in ids_of(shop).items() if containers[service] != container}
    assert replaced == {service for service in containers if f"{service} (" in said["replace"]}

    again = plan(shop, version)
    assert again.returncode == 0 and rows(again)["strategy"].startswith("none"), again.output[-3000:]


def test_what_an_update_would_refuse_the_plan_shows_and_refuses(shop: Shop) -> None:
    before = untouched(shop)
    play = plan(shop, "bad-reserve")
    assert play.returncode != 0
    assert "compose (docker-compose.prod.yml)" in play.flat and "there is no room for this" in play.flat, play.output[
        -3000:
    ]
    assert untouched(shop) == before and shop.leftovers() == []


def test_check_mode_builds_nothing_and_tells_by_the_files(shop: Shop) -> None:
    images = there(shop)["images"]
    play = plan(shop, "bad-oom", "--check")
    assert play.returncode == 0, play.output[-3000:]
    assert "unknown until built" in play.output
    assert there(shop)["images"] == images


def test_where_only_documentation_and_nginx_changed_no_container_is_replaced(shop: Shop) -> None:
    version, repository = shop.version(), Path(shop.repository)
    config = run(["git", "-C", str(repository), "show", f"{version}:{NGINX}"])
    changed = {"docs/guide.md": "read me\n", "tours/tests/test_more.py": "# more\n", NGINX: f"# by hand\n{config}"}
    add_commit(repository, changed, "aside", version)
    said = rows(plan(shop, "aside"))
    assert said["strategy"].startswith("reload"), said
    containers = ids_of(shop)
    with shop.load() as load:
        play = shop.update("aside")
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert "not built, since no file of theirs changed" in play.flat, play.output[-3000:]
    assert ids_of(shop) == containers and shop.leftovers() == []
    assert run(["docker", "exec", shop.container("nginx"), "cat", "/etc/nginx/conf.d/default.conf"]).startswith(
        "# by hand"
    )
    assert_nothing_lost(shop, load, result)
    status = shop.play(playbook="status")
    assert "differ" not in status.output.lower() or "none" in status.output, status.output[-3000:]

    # What the app says of it elsewhere makes it a file of the app.
    add_commit(
        repository, {"docs/guide.md": "read me again\n", "tours/apps.py": "GUIDE = 'docs/guide.md'\n"}, "read", "aside"
    )
    assert rows(plan(shop, "read"))["strategy"].startswith("rolling")
    again = shop.update("aside")
    assert (again.returncode, again.changed) == (0, 0), again.output[-3000:]
    back = shop.rollback()
    assert back.returncode == 0, back.output[-3000:]
    assert ids_of(shop) == containers and shop.version() == version
