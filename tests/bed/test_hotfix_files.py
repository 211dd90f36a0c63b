# SPDX-License-Identifier: GPL-3.0-or-later
"""Hotfixes that no build makes: of uploads, of built files, of what was edited by hand; and a branch from start to finish."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from tests.bed.built_frontend import assets, packed, served
from tests.bed.killed_playbook import kill_when
from tests.bed.killed_roll import QUICK
from tests.bed.live_hotfix import live
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop, deployed, run, succeeded
from tests.bed.shop_snapshot import ids_of
from tests.bed.visitors import Visitors

# What is decided is held by units in processes of their own; test_hotfix.py is in every run.
VERSION = "shop/version.py"
PICTURE = "pictures/a.txt"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop with a front end that a job built, and with an upload."""
    with deployed("hotfix-files", {"app_keep_releases": 20, "app_services": QUICK}, version="frontend") as made:
        in_api(
            made,
            f"mkdir -p media/pictures; echo old > media/{PICTURE}; chown -R 1000:1000 media; chmod 640 media/{PICTURE}",
        )
        yield made


def in_api(shop: Shop, script: str) -> str:
    return run(["docker", "exec", "-u", "0", shop.container("api"), "sh", "-ec", script])


def write(shop: Shop, **texts: str) -> dict[str, str]:
    """Files of a developer, each by its name."""
    folder = shop.folder / "dev"
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return {name: str(folder / name) for name in texts}


def uploads(shop: Shop) -> dict[str, str]:
    """Path, owner and mode of each upload → its text; nothing of ours is among them."""
    listed = in_api(shop, "find media -type f -not -path 'media/.evenkeel/*' -printf '%P %U:%G %m\\n'").splitlines()
    return {line: in_api(shop, f"cat 'media/{line.split()[0]}'").strip() for line in listed}


def test_a_changed_asset_has_another_name_and_no_visitor_meets_half_of_it(shop: Shop) -> None:
    before, ids, old = served(shop), ids_of(shop), assets(shop)
    source = write(shop, app='console.log("mended");\n')["app"]
    told = live(shop, check=True, kind="frontend", files={old[0]: "x\n"}, name="front")
    assert told["changed"] and (served(shop), assets(shop)) == (before, old) and "/app/" in told["public_paths"]
    with Visitors(shop.port, named_by_content=False) as visitors:
        play = succeeded(shop.play(playbook="hotfix", hotfix_frontend={old[0]: source}, hotfix_name="front"))
        new = assets(shop)
        assert new[0] != old[0] and new[1:] == old[1:] and packed(shop) == served(shop) != before
        assert run(["curl", "-s", f"{shop.url}/app/{new[0]}"]) == Path(source).read_text()
        again = live(shop, kind="frontend", files={old[0]: Path(source).read_text()}, name="front")
        assert again["changed"] is False and ids_of(shop) == ids and shop.leftovers() == []
        back = succeeded(shop.rollback(rollback_hotfix="front"))
        assert served(shop) == packed(shop) == before and ids_of(shop) == ids and back.changed > 0
    assert visitors.wrong[:10] == [] and len(visitors.pages) == 2, visitors
    assert live(shop, state="reverted", name="front")["changed"] is False
    print(f"\nevidence: a hotfix of a built file: {play.seconds:.1f} s")


def test_an_upload_is_placed_where_it_is_and_comes_back(shop: Shop) -> None:
    before, ids = uploads(shop), ids_of(shop)
    sources = write(shop, a="new\n", b="b\n")
    files = {PICTURE: sources["a"], "banners/summer/b.txt": sources["b"]}
    texts = {PICTURE: "new\n", "banners/summer/b.txt": "b\n"}
    assert live(shop, check=True, files=texts, name="picture")["changed"] and uploads(shop) == before
    play = succeeded(shop.play(playbook="hotfix", hotfix_media=files, hotfix_name="picture"))
    assert uploads(shop) == {f"{PICTURE} 1000:1000 640": "new", "banners/summer/b.txt 1000:1000 644": "b"}
    assert run(["curl", "-s", f"{shop.url}/media/banners/summer/b.txt"]) == "b\n"
    assert live(shop, files=texts, name="picture")["changed"] is False and ids_of(shop) == ids
    third = live(shop, files={PICTURE: "third\n"}, name="third", file_owner="1001:1001", mode="0644")
    assert third["changed"] and f"{PICTURE} 1001:1001 644" in uploads(shop)
    with pytest.raises(BadInput, match=r"the hotfix third changed pictures/a\.txt after picture"):
        live(shop, state="reverted", name="picture")
    assert live(shop, state="reverted", name="third")["changed"]
    succeeded(shop.rollback(rollback_hotfix="picture"))
    assert uploads(shop) == before and "banners" not in in_api(shop, "ls media") and ids_of(shop) == ids
    print(f"\nevidence: a hotfix of an upload: {play.seconds:.1f} s")


@pytest.mark.parametrize(
    ("more", "expected"),
    [({"files": {"../../etc/passwd": "x"}}, "not written plainly"), ({"files": {"/etc/passwd": "x"}}, "absolute"),
     ({"files": {"out/x": "x"}}, "behind a link"), ({"files": {"pictures": "x"}}, "no plain file"),
     ({"files": {"x": "x"}, "target": "/app/nowhere"}, "no volume or folder"),
     ({"files": {"assets/app-000000000000.js.gz": "x"}, "kind": "frontend"}, "compressed form"),
     ({"state": "reverted", "name": "nobody"}, "no hotfix of uploads")],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_touched(shop: Shop, more: dict[str, Any], expected: str) -> None:
    in_api(shop, "ln -sfn /etc media/out")
    before, ids = uploads(shop), ids_of(shop)
    with pytest.raises(BadInput) as caught:
        live(shop, **more)
    assert expected in caught.value.message() and "nothing was touched" in caught.value.message()
    in_api(shop, "rm media/out")
    assert uploads(shop) == before and ids_of(shop) == ids and shop.leftovers() == []


def edit(shop: Shop, service: str, path: str, text: str) -> None:
    """What nano does."""
    shop.edit_by_hand(service, f"cat > /app/{path}", text)


def of_release(shop: Shop, path: str) -> str:
    return (shop.root / "current" / path).read_text(encoding="utf-8")


def test_a_hand_edit_is_captured_and_survives_its_container(shop: Shop) -> None:
    edited = of_release(shop, VERSION).replace(f'"{shop.version()}"', '"nano"')
    edit(shop, "api", VERSION, edited)
    ids, release = ids_of(shop), (shop.root / "current").readlink()
    for refused in (shop.update("v2"), shop.play(playbook="hotfix", hotfix_restart="api")):
        assert refused.returncode != 0 and "hotfix_capture=true" in refused.message, refused.output[-3000:]
        assert f"/app/{VERSION} changed" in refused.message and "nothing was touched" in refused.message
    assert ids_of(shop) == ids and (shop.root / "current").readlink() == release
    succeeded(shop.play(playbook="hotfix", hotfix_capture=True, hotfix_name="nano"))
    assert shop.version() == "nano" and shop.leftovers() == []
    assert run(["git", "-C", str(shop.repository), "show", f"hotfix/nano:{VERSION}"]) == edited
    again = succeeded(shop.play(playbook="hotfix", hotfix_capture=True))
    assert again.changed == 0 and "nothing" in again.output, again.output[-3000:]


def test_two_containers_that_were_edited_differently_are_refused(shop: Shop) -> None:
    text = of_release(shop, VERSION)
    edit(shop, "api", VERSION, f"{text}# api\n")
    edit(shop, "celery", VERSION, f"{text}# celery\n")
    ids, release = ids_of(shop), (shop.root / "current").readlink()
    refused = shop.play(playbook="hotfix", hotfix_capture=True)
    assert refused.returncode != 0 and "and differently" in refused.message, refused.output[-3000:]
    assert ids_of(shop) == ids and (shop.root / "current").readlink() == release
    edit(shop, "celery", VERSION, f"{text}# api\n")
    succeeded(shop.play(playbook="hotfix", hotfix_capture=True))
    assert of_release(shop, VERSION).endswith("# api\n") and shop.leftovers() == []


@pytest.mark.parametrize("kind", ["frontend", "media"])
def test_applied_and_taken_back_under_load(shop: Shop, kind: str) -> None:
    given = {"media": PICTURE, "frontend": assets(shop)[1]}[kind]
    before, source = (served(shop), uploads(shop)), write(shop, loaded="loaded\n")["loaded"]
    with shop.load() as load, Visitors(shop.port, named_by_content=False) as visitors:
        play = succeeded(
            shop.play(playbook="hotfix", **{f"hotfix_{kind}": {given: source}}, hotfix_name=f"loaded-{kind}")
        )
        assert (served(shop), uploads(shop)) != before
        back = succeeded(shop.rollback(rollback_hotfix=f"loaded-{kind}"))
        result = load.stop()
    assert (served(shop), uploads(shop)) == before and visitors.wrong[:10] == [] and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    print(
        f"\nevidence: a hotfix of {kind}: {result.total:,} requests, 0 failed, {play.seconds:.1f} s, back {back.seconds:.1f} s"
    )


@pytest.mark.parametrize("kind", ["frontend", "media"])
def test_killed_in_its_step_the_same_command_ends_it_and_so_does_going_back(
    shop: Shop, kind: str, tmp_path: Path
) -> None:
    path = {"media": PICTURE, "frontend": assets(shop)[2]}[kind]
    before, source = (served(shop), uploads(shop)), write(shop, killed="killed\n")["killed"]
    name = f"killed-{kind}"
    given = {"playbook": "hotfix", f"hotfix_{kind}": {path: source}, "hotfix_name": name}

    def inside(text: str) -> bool:
        return "Replace live files" in text

    with Visitors(shop.port, named_by_content=False) as visitors:
        kill_when(shop, tmp_path / "log", inside, **given)
        succeeded(shop.play(**given))
        after = served(shop), uploads(shop)
        assert after != before and succeeded(shop.play(**given)).changed == 0 and shop.leftovers() == []
        kill_when(shop, tmp_path / "back", inside, playbook="rollback", rollback_hotfix=name)
        succeeded(shop.rollback(rollback_hotfix=name))
    assert (served(shop), uploads(shop)) == before and visitors.wrong[:10] == [] and shop.leftovers() == []


def test_the_next_build_is_refused_and_by_name_publishes_its_own_and_going_back_leaves_that(shop: Shop) -> None:
    source = write(shop, front="until the next\n")["front"]
    succeeded(shop.play(playbook="hotfix", hotfix_frontend={assets(shop)[3]: source}, hotfix_name="until"))
    for refused in (
        shop.update("frontend-2", update_allow_lost_hotfixes=in_force(shop)),
        shop.play(playbook="hotfix", hotfix_restart="frontend_builder"),
    ):
        assert refused.returncode != 0 and "over the hotfix until of built" in refused.message, refused.output[-3000:]
    assert live(shop, files={"badge.txt": "fixed\n", "seal.txt": "fixed\n"}, name="badge")["changed"]
    in_api(shop, "rm media/seal.txt")
    play = succeeded(shop.update("frontend-2", update_allow_lost_hotfixes=[*in_force(shop), "until"]))
    assert "note: seal.txt is again as before the hotfix badge: IT IS LOST" in play.flat
    succeeded(shop.rollback(rollback_hotfix="badge"))
    built = served(shop)
    back = succeeded(shop.rollback(rollback_hotfix="until"))
    assert served(shop) == built == packed(shop) and "left as it is" in back.output, back.output[-3000:]


def test_a_builder_is_restarted_and_what_somebody_removed_is_there_again(shop: Shop) -> None:
    asset, ids = assets(shop)[0], ids_of(shop)
    for found in [*shop.mount("nginx", "/srv/frontend").rglob(Path(asset).name)]:
        found.unlink()
    given = {"playbook": "hotfix", "hotfix_restart": "frontend_builder", "hotfix_restart_id": "built"}
    with Visitors(shop.port, named_by_content=False) as visitors:
        play = succeeded(shop.play(**given))
        assert succeeded(shop.play(**given)).changed == 0
    assert play.changed and run(["curl", "-sf", f"{shop.url}/app/{asset}"]) and ids_of(shop) == ids
    assert [w for w in visitors.wrong if asset not in w] == [] and shop.leftovers() == []


def in_force(shop: Shop) -> list[str]:
    """The names of the hotfixes of code that production has, as its own manifest tells them."""
    manifest = json.loads((shop.root / "current" / ".evenkeel/manifest.json").read_text(encoding="utf-8"))
    return [str(one["name"]) for one in manifest.get("hotfixes") or []]


def test_a_branch_from_start_to_finish(shop: Shop, tmp_path: Path) -> None:
    check = succeeded(shop.play("--check", playbook="hotfix", hotfix_start=True, hotfix_name="way"))
    assert "would be at" in check.output and "hotfix/way" not in run(["git", "-C", str(shop.repository), "branch"])
    ids = ids_of(shop)
    succeeded(shop.play(playbook="hotfix", hotfix_start=True, hotfix_name="way"))
    assert (
        succeeded(shop.play(playbook="hotfix", hotfix_start=True, hotfix_name="way")).changed == 0
        and ids_of(shop) == ids
    )
    clone = tmp_path / "clone"
    run(["git", "clone", "--quiet", "--branch", "hotfix/way", str(shop.repository), str(clone)])
    (clone / "tours/way.py").write_text("WAY = 1\n", encoding="utf-8")
    run(["git", "-C", str(clone), "add", "--all"])
    run(["git", "-C", str(clone), "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--message", "Way"])
    run(["git", "-C", str(clone), "push", "--quiet", "origin", "hotfix/way"])
    succeeded(shop.play(playbook="hotfix", hotfix_ref="hotfix/way"))
    hook = shop.repository / "hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\n[ "$1" != refs/heads/main ] || { echo protected >&2; exit 1; }\n', encoding="utf-8")
    hook.chmod(0o755)
    finish = {"playbook": "hotfix", "hotfix_finish": True, "hotfix_name": "way", "hotfix_how": "cherry_pick"}
    refused = shop.play(**finish)
    assert refused.returncode != 0 and "git cherry-pick -x" in refused.message, refused.output[-3000:]
    hook.unlink()
    succeeded(shop.play(**finish))
    assert run(["git", "-C", str(shop.repository), "show", "main:tours/way.py"]) == "WAY = 1\n"
    assert "hotfix/way" not in run(["git", "-C", str(shop.repository), "branch"])
    assert succeeded(shop.play(**finish)).changed == 0 and shop.leftovers() == []
