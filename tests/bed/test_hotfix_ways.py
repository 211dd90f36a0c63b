# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways of a hotfix beside the straight one: over staging, past what keeps copies, and out again from under others."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.code_hotfix import CODE, PAGE, VERSION, back_at_v1, hotfix, of_v1, said
from tests.bed.killed_roll import QUICK
from tests.bed.shop import Shop, deployed, run, succeeded
from tests.bed.shop_snapshot import there

# What is decided is held by units on real repositories; test_hotfix.py is in every run.
SHEET = "tours/static/tours/site.css"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop at v1."""
    with deployed("hotfix-ways", {"app_keep_releases": 20, "app_services": QUICK}) as made:
        yield made


def page(shop: Shop) -> str:
    return run(["curl", "--silent", "--fail", f"{shop.url}/"])


def about(shop: Shop, name: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((shop.root / f".evenkeel/hotfixes/{name}.json").read_text(encoding="utf-8"))
    return found


def with_staging(shop: Shop) -> tuple[str, str]:
    """A second inventory, with a staging host whose app lives in a folder beside the shop's."""
    root = shop.folder / "staging"
    root.mkdir(exist_ok=True)
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "app_root": str(root)}
    host["app_state_dir"] = str(root / ".evenkeel")
    inventory = shop.folder / "staging.json"
    inventory.write_text(json.dumps({"all": {"children": {"tests": {"hosts": {"st": host}}}}}), encoding="utf-8")
    return "-i", str(inventory)


def test_what_staging_has_not_found_good_needs_a_reason(shop: Shop) -> None:
    # No staging host is in the play itself.
    inventory = (*with_staging(shop), "-e", "app_hosts=shop")
    files = {CODE: of_v1(shop, CODE) + "\nTRIED = True\n"}
    looked = there(shop)
    refused = hotfix(shop, files, *inventory, hotfix_staging_hosts="tests", hotfix_name="tried")
    assert refused.returncode != 0 and "st does not know it" in refused.message, refused.output[-3000:]
    assert "hotfix_allow_untried" in refused.message and there(shop) == looked
    nobody = hotfix(shop, files, *inventory, hotfix_staging_hosts="nowhere", hotfix_name="tried")
    assert nobody.returncode != 0 and "names no host" in nobody.message, nobody.output[-3000:]
    given = {"hotfix_staging_hosts": "tests", "hotfix_name": "tried"}
    placed = hotfix(shop, files, *inventory, hotfix_staging_hosts="tests", hotfix_name="tried", hotfix_mode="in_place")
    assert placed.returncode != 0 and "st does not know it" in placed.message, placed.output[-3000:]
    taken = succeeded(hotfix(shop, files, *inventory, hotfix_allow_untried="it burns", **given))
    assert "not tried on staging, since: it burns" in taken.flat and about(shop, "tried")["untried"] == "it burns"
    # There already, it is asked of nobody.
    assert succeeded(hotfix(shop, files, *inventory, **given)).changed == 0
    for folder in (".evenkeel/hotfixes", f"{os.readlink(shop.root / 'current')}/.evenkeel"):
        shutil.copytree(shop.root / folder, shop.folder / "staging" / folder)
    succeeded(shop.rollback())
    # Its release was made by the same module on the same revision: staging has it, found good minutes ago.
    foreseen = succeeded(hotfix(shop, files, "--check", *inventory, **given))
    assert "tried on staging: st found it good" in foreseen.flat, foreseen.output[-3000:]
    late = hotfix(shop, files, "--check", *inventory, hotfix_staging_max_age=0.001, **given)
    assert late.returncode != 0 and "which is too long" in late.message, late.output[-3000:]


def test_what_keeps_copies_is_told_and_lines_of_nginx_are_named(shop: Shop, tmp_path: Path) -> None:
    told, tasks = tmp_path / "told", tmp_path / "purge.yml"
    tasks.write_text(
        '- name: Note them\n  ansible.builtin.copy:\n    dest: \'{{ lookup("ansible.builtin.env", "TOLD") }}\'\n'
        "    content: \"{{ hotfix_purge_paths | join(' ') }}\"\n    mode: '0600'\n",
        encoding="utf-8",
    )
    files = {SHEET: of_v1(shop, SHEET) + "\n/* mended */\n"}
    missing = hotfix(shop, files, hotfix_purge="/nowhere.yml")
    assert missing.returncode != 0 and "no file on the controller" in missing.message, missing.output[-3000:]
    os.environ["TOLD"] = str(told)
    try:
        check = succeeded(hotfix(shop, files, "--check", hotfix_purge=str(tasks)))
        assert "(expires 1y) lets browsers keep /static/tours/site.css for 365 days" in check.flat, check.output[-3000:]
        assert not told.exists()
        succeeded(hotfix(shop, files, hotfix_name="sheet", hotfix_purge=str(tasks)))
        assert told.read_text(encoding="utf-8") == "/static/tours/site.css"
        told.unlink()
        succeeded(shop.rollback(hotfix_purge=str(tasks)))
        assert told.read_text(encoding="utf-8") == "/static/tours/site.css"
    finally:
        del os.environ["TOLD"]
    tasks.write_text("- ansible.builtin.fail: {msg: the CDN is away}\n", encoding="utf-8")
    failed = hotfix(shop, {SHEET: of_v1(shop, SHEET) + "\n/* again */\n"}, hotfix_name="again", hotfix_purge=str(tasks))
    assert failed.returncode != 0 and "the CDN is away" in failed.message and "serves the files" in failed.message
    assert "verified" in failed.output and os.readlink(shop.root / "current").endswith(".h1") and shop.leftovers() == []
    tasks.write_text("- ansible.builtin.debug: {msg: told}\n", encoding="utf-8")
    again = hotfix(shop, {SHEET: of_v1(shop, SHEET) + "\n/* again */\n"}, hotfix_name="again", hotfix_purge=str(tasks))
    assert succeeded(again).changed == 0
    succeeded(shop.rollback())


def test_one_that_others_lie_on_comes_out_and_so_does_a_file(shop: Shop) -> None:
    back_at_v1(shop)
    mended = of_v1(shop, PAGE).replace("</body>", "<p>mended</p></body>")
    succeeded(hotfix(shop, {VERSION: said("v1-a"), CODE: of_v1(shop, CODE) + "\nA = 1\n"}, hotfix_name="a"))
    succeeded(hotfix(shop, {PAGE: mended}, hotfix_name="b"))
    looked = there(shop)
    succeeded(shop.rollback("--check", rollback_hotfix="a"))
    assert there(shop) == looked and shop.version() == "v1-a"
    # One file of it, then the rest.
    succeeded(shop.rollback(rollback_files=CODE))
    assert shop.version() == "v1-a" and "mended" in page(shop)
    assert "A = 1" not in run(["docker", "exec", shop.container("api"), "cat", f"/app/{CODE}"])
    succeeded(shop.rollback(rollback_hotfix="a"))
    assert shop.version() == "v1" and "mended" in page(shop) and shop.leftovers() == []
    assert os.readlink(shop.root / "current").endswith(".h4")
    again = succeeded(shop.rollback(rollback_hotfix="a"))
    assert again.changed == 0 and "has it already" in again.flat, again.output[-3000:]
    succeeded(hotfix(shop, {PAGE: mended.replace("mended", "mended twice")}, hotfix_name="c"))
    looked = there(shop)
    refused = shop.rollback(rollback_hotfix="b")
    assert refused.returncode != 0 and "before c, put on it later" in refused.message, refused.output[-3000:]
    assert "rollback_hotfix=c" in refused.message and there(shop) == looked
    typo = shop.rollback(rollback_files="tours/typo.py")
    assert typo.returncode != 0 and "has changed tours/typo.py" in typo.message, typo.output[-3000:]
