# SPDX-License-Identifier: GPL-3.0-or-later
"""A small change of a front end's source: built beside the live files by its job, looked at, and shown as an update shows it."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from tests.bed.built_frontend import JOB, assets, builds, packed, records, served
from tests.bed.code_hotfix import module, said
from tests.bed.killed_playbook import kill_when
from tests.bed.killed_roll import QUICK
from tests.bed.live_hotfix import live
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Play, Shop, deployed, run, succeeded
from tests.bed.shop_snapshot import ids_of, there
from tests.bed.visitors import Visitors

# A shop with a front end takes minutes; what is decided, and what a build is refused for, units hold in every run.
SOURCE, PAGE, VERSION = "frontend/src/app.js", "frontend/src/index.html", "shop/version.py"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop with a front end that a job builds, slowly enough to be met half done."""
    with deployed(
        "hotfix-source", {"app_keep_releases": 20, "app_services": QUICK}, version="frontend", env="BUILD_SECONDS=3\n"
    ) as made:
        yield made


def given(shop: Shop, files: dict[str, bytes]) -> dict[str, str]:
    """A developer's checkout, as far as it was changed, as the playbook is told of it."""
    folder = shop.folder / "dev"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return {"playbook": "hotfix", "hotfix_files": ",".join(files), "hotfix_source": str(folder)}


def as_given(files: dict[str, str]) -> list[dict[str, str]]:
    """The same as the module is told of it."""
    return [{"path": p, "content": base64.b64encode(t.encode()).decode()} for p, t in files.items()]


def hotfix(shop: Shop, files: dict[str, bytes], *arguments: str, **more: Any) -> Play:
    return shop.play(*arguments, **given(shop, files), **more)


def current(shop: Shop) -> str:
    return os.path.basename(os.readlink(shop.root / "current"))


def back(shop: Shop) -> None:
    succeeded(shop.rollback(rollback_to="frontend"))


def test_it_is_built_beside_what_serves_and_no_visitor_meets_half_of_it(shop: Shop) -> None:
    before, ids, ran, first = served(shop), ids_of(shop), records(shop), current(shop)
    files = {SOURCE: b'console.log("mended");\n'}
    check = succeeded(hotfix(shop, files, "--check", "--diff"))
    assert f"would be built: {JOB}" in check.output, check.output[-3000:]
    told = module(shop, True, files=as_given({p: c.decode() for p, c in files.items()}))
    assert told["jobs"] == [JOB] and told["services"] == [] and "up to 400 lines" in " ".join(told["notes"]), told
    assert (served(shop), records(shop), current(shop)) == (before, ran, first)
    with Visitors(shop.port) as visitors:
        play = succeeded(hotfix(shop, files, hotfix_name="mended"))
        after = served(shop)
        assert after != before and packed(shop) == after
    assert visitors.wrong[:10] == [] and len(visitors.pages) == 2, visitors
    # Of the images only the builder's has it: nobody who serves was replaced.
    assert ids_of(shop) == ids and (shop.leftovers(), builds(shop)) == ([], [])
    assert re.search(r"\.h1$", current(shop)) and set(records(shop)) == {*ran, current(shop)}
    assert run(["git", "-C", str(shop.repository), "show", f"hotfix/mended:{SOURCE}"]).encode() == files[SOURCE]
    again = succeeded(hotfix(shop, files, hotfix_name="mended"))
    assert again.changed == 0 and "has it already" in again.output, again.output[-3000:]
    refused = shop.update("frontend-2")
    assert refused.returncode != 0 and "hotfix mended" in refused.message, refused.output[-3000:]
    # Who runs the builder by hand builds the same.
    shop.compose("run", "--rm", "-T", JOB)
    assert served(shop) == after
    back(shop)
    assert served(shop) == packed(shop) == before and (shop.leftovers(), builds(shop)) == ([], [])
    print(f"\nevidence: a hotfix of a front end's source, built in 3 s: {play.seconds:.1f} s")


@pytest.mark.parametrize(
    ("files", "more", "expected"),
    [
        ({"frontend/package.json": "{}\n"}, {}, "names packages"),
        ({"frontend/yarn.lock": "#\n"}, {}, "names packages"),
        ({"frontend/Dockerfile": "FROM x\n"}, {}, "how images are built"),
        ({SOURCE: "a\nb\nc\n"}, {"max_lines": 3}, "4 lines are changed, more than 3"),
        ({SOURCE: "a\n", PAGE: "b\n"}, {"max_files": 1}, "2 files are changed, more than 1"),
    ],
)
def test_what_only_an_update_builds_is_refused_before_anything_is_touched(
    shop: Shop, files: dict[str, str], more: dict[str, Any], expected: str
) -> None:
    looked, page = there(shop), served(shop)
    with pytest.raises(BadInput) as caught:
        module(shop, files=as_given(files), **more)
    told = caught.value.message()
    assert expected in told and "evenkeel.deploy.update" in told and "nothing was touched" in told
    assert (there(shop), served(shop)) == (looked, page)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({SOURCE: b"\xff\xfe\n"}, f"{JOB} ended with 1"),
        ({PAGE: b"<!doctype html>\n"}, "loads no file of the site any more"),
        ({PAGE: b"\n"}, "index.html: is empty"),
        ({"frontend/src/nobody_asks.js": b"x\n"}, "nothing of it is another than what is served"),
    ],
)
def test_what_is_built_broken_is_shown_to_nobody(shop: Shop, files: dict[str, bytes], expected: str) -> None:
    page, ids, release = served(shop), ids_of(shop), current(shop)
    with Visitors(shop.port) as visitors:
        play = hotfix(shop, files)
    assert play.returncode != 0 and expected in play.message, play.output[-4000:]
    assert all(word in play.message for word in ("What:", "Now:", "Next:")), play.message
    assert visitors.wrong == [] and len(visitors.pages) == 1
    assert (served(shop), ids_of(shop), current(shop)) == (page, ids, release)
    assert (shop.leftovers(), builds(shop)) == ([], [])


def test_a_build_that_takes_too_long_is_ended(shop: Shop) -> None:
    page = served(shop)
    play = hotfix(shop, {SOURCE: b'console.log("slow");\n'}, hotfix_build_timeout=1)
    # A busy machine does not even start it by then.
    assert play.returncode != 0 and re.search(r"did not end in 1 s|could not be started", play.message), play.output[
        -4000:
    ]
    assert (served(shop), shop.leftovers(), builds(shop)) == (page, [], [])


def test_over_a_hotfix_of_built_files_it_is_refused(shop: Shop) -> None:
    live(shop, kind="frontend", files={assets(shop)[0]: "until\n"}, name="until")
    page = served(shop)
    play = hotfix(shop, {SOURCE: b'console.log("over");\n'})
    assert play.returncode != 0 and "rollback_hotfix=until" in play.message, play.output[-3000:]
    assert served(shop) == page
    succeeded(shop.rollback(rollback_hotfix="until"))


def test_with_code_in_one_go_under_load(shop: Shop) -> None:
    before = served(shop)
    with shop.load(seconds=600, rate=40) as load, Visitors(shop.port) as visitors:
        play = succeeded(
            hotfix(shop, {SOURCE: b'console.log("both");\n', VERSION: said("both").encode()}, hotfix_name="both")
        )
        result = load.stop()
    assert shop.version() == "both" and served(shop) != before
    assert visitors.wrong[:10] == [] and len(visitors.pages) == 2 and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    print(f"\nevidence: code and a front end in one hotfix: {result.total:,} requests, 0 failed, {play.seconds:.1f} s")
    back(shop)
    assert served(shop) == before


@pytest.mark.parametrize("step", ["Build front-end files beside the live ones", "Publish the built files"])
def test_killed_in_its_step_the_same_command_ends_it(shop: Shop, step: str, tmp_path: Path) -> None:
    before = served(shop)
    asked = given(shop, {SOURCE: f"console.log({step!r});\n".encode()})
    with Visitors(shop.port) as visitors:
        kill_when(shop, tmp_path / "log", lambda text: step in text, **asked)
        succeeded(shop.play(**asked))
        assert served(shop) != before and succeeded(shop.play(**asked)).changed == 0
        back(shop)
    assert served(shop) == packed(shop) == before and visitors.wrong[:10] == []
    assert (shop.leftovers(), builds(shop)) == ([], [])
