# SPDX-License-Identifier: GPL-3.0-or-later
"""A hotfix that is not the last one, and one file of one, come out of what runs; or it is said what stands in the way."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix import revert
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import ledger as hotfix_ledger
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.lost_hotfixes import in_force
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.revert import NotBack, Part
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.unit.app_on_a_server import commit, git
from tests.unit.restored_folder import Restored
from tests.unit.serving_shop import VIEWS, Shop

URLS = "backend/shop/urls.py"
LONG = "".join(f"line {n}\n" for n in range(20))
CHAIN = [{"name": n, "base": f"{n}0", "commit": f"{n}1"} for n in ("a", "b", "c")]
TOUCHED = {"a": ["x", "y"], "b": ["x"], "c": ["z"]}


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        ("a", [], [Part("a")]),
        ("a", ["y"], [Part("a", ("y",))]),
        ("", ["x"], [Part("b", ("x",))]),
        ("", ["x", "z", "y"], [Part("c", ("z",)), Part("b", ("x",)), Part("a", ("y",))]),
    ],
)
def test_what_is_taken_back(name: str, files: list[str], expected: list[Part]) -> None:
    assert revert.due(CHAIN, TOUCHED, name, files) == expected


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        ("typo", [], "is called typo | there are: a, b, c"),
        ("b", ["z"], "b has not changed z | it has changed: x"),
        ("", ["typo"], "has changed typo | there are: x, y, z"),
    ],
)
def test_what_there_is_not_is_named(name: str, files: list[str], expected: str) -> None:
    with pytest.raises(NotBack) as caught:
        revert.due(CHAIN, TOUCHED, name, files)
    assert expected in f"{caught.value} | {caught.value.advice}"


def test_asked_again_a_file_does_not_come_once_more() -> None:
    chain = [*CHAIN, {"name": "back-b-1", "base": "c1", "commit": "r", "back": "b"}]
    assert revert.due(chain, {**TOUCHED, "back-b-1": ["x"]}, "", ["x"]) == [Part("b", ("x",))]
    # By its name it does.
    assert revert.due(chain, {**TOUCHED, "back-b-1": ["x"]}, "back-b-1", []) == [Part("back-b-1")]


def test_what_is_taken_back_as_a_whole_is_in_force_no_more() -> None:
    def names(*more: dict[str, str]) -> list[str]:
        return [h.name for h in in_force([*CHAIN, *({"base": "x", "commit": "y", **m} for m in more)])]

    assert names({"name": "back-b", "back": "b"}) == ["a", "c", "back-b"]
    assert names({"name": "back-b", "back_part": "b"}) == ["a", "b", "c", "back-b"]
    assert names({"name": "back-b", "back": "b"}, {"name": "again", "back": "back-b"}) == ["a", "b", "c", "again"]
    assert in_force(None) == in_force(["torn"]) == ()


def test_names_are_names() -> None:
    assert revert.name_of([Part("a")]) == "back-a" and len(revert.name_of([Part("a" * 64, ("x",))])) == 64
    assert revert.name_of([Part("a", ("x",))]) != revert.name_of([Part("a", ("y",))])


# -- on what runs ----------------------------------------------------------------------------------------------------


class Fixed:
    """A shop with hotfixes on one another."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.root, self.source, self.first = shop, shop.root, shop.source, shop.first
        self.inputs, self.seen = shop.inputs, shop.seen

    def __call__(self, state: str, **more: Any) -> dict[str, Any]:
        return self.shop(state, **more)

    def put(self, name: str, files: dict[str, str]) -> dict[str, Any]:
        return self.serve_it(self.shop.fix(files=files, name=name))

    def serve_it(self, told: dict[str, Any]) -> dict[str, Any]:
        self.shop("active", release=told["release"])
        Store(str(self.root)).note(told["release"], state="verified")
        services = self.shop.project(told["release"])["services"]
        for container in self.shop.engine.running:
            service = container["Config"]["Labels"]["com.docker.compose.service"]
            container["Image"] = self.shop.engine.names[services[service]["image"]]
        return told

    def back(self, check: bool = False, **more: Any) -> dict[str, Any]:
        return self.shop.fix(check, **more)

    def served(self, path: str) -> bytes:
        image = self.shop.engine.images[self.shop.engine.running[0]["Image"]]
        content: bytes = image["files"][f"/app/{path.partition('/')[2]}"][0]
        return content


@pytest.fixture
def shop(shops: Restored[Shop], monkeypatch: pytest.MonkeyPatch) -> Fixed:
    made = shops()
    made.use_its_engine(monkeypatch)
    return Fixed(made)


def test_one_in_the_middle_comes_out_and_the_later_stays(shop: Fixed) -> None:
    shop.put("long", {VIEWS: LONG})
    shop.put("a", {VIEWS: LONG.replace("line 2\n", "two\n"), URLS: "a\n"})
    shop.put("b", {VIEWS: LONG.replace("line 2\n", "two\n").replace("line 17\n", "seventeen\n")})
    seen = shop.seen()
    assert shop.back(True, revert="a")["kinds"] == {"backend": [URLS, VIEWS]} and shop.seen() == seen
    # The way back is open also where no further hotfix is.
    told = shop.serve_it(shop.back(revert="a", max_chain=1, max_files=1, max_lines=1))
    assert told["changed"] and told["name"] == "back-a" and told["release"].endswith(".h4")
    assert shop.served(VIEWS).decode() == LONG.replace("line 17\n", "seventeen\n") and shop.served(URLS) == b"urls\n"
    chain = Store(str(shop.root)).manifest(told["release"])["hotfixes"]
    assert [(h["name"], h.get("back")) for h in chain] == [("long", None), ("a", None), ("b", None), ("back-a", "a")]
    again = shop.back(revert="a")
    assert (again["changed"], again["release"]) == (False, told["release"]) and "the way back from a" in again["msg"]
    assert hotfix_ledger.read(str(shop.root / ".evenkeel"), "back-a")["commit"] == told["revision"]
    # Taken back, it is asked of no update any more; what is left is.
    assert "hotfix" not in str(shop_refusal(shop, {VIEWS: LONG.replace("line 17\n", "seventeen\n"), URLS: "urls\n"}))
    # What is out of production already is not what it would lose.
    assert "lacks the hotfix b" in str(shop_refusal(shop, {VIEWS: LONG, URLS: "urls\n"}))


def shop_refusal(shop: Fixed, files: dict[str, str]) -> str:
    """What an update is answered to a revision with these files, empty where nothing stands in its way."""
    for path, text in files.items():
        (shop.source / path).write_text(text)
    commit(shop.source)
    assert git(shop.source, "status", "--porcelain") == ""
    try:
        shop("present", inputs=shop.inputs)
    except BadInput as error:
        return str(error)
    return ""


def test_a_single_file_comes_back(shop: Fixed) -> None:
    shop.put("a", {VIEWS: "two\n", URLS: "a\n"})
    told = shop.serve_it(shop.back(revert_files=[URLS]))
    assert told["files"] == [URLS] and shop.served(URLS) == b"urls\n" and shop.served(VIEWS) == b"two\n"
    assert shop.back(revert_files=[URLS])["changed"] is False
    assert shop.back(revert="a", revert_files=[URLS])["changed"] is False
    assert "lacks the hotfix a" in shop_refusal(shop, {"README.md": "other\n"})
    rest = shop.serve_it(shop.back(revert="a"))
    assert rest["files"] == [VIEWS] and shop.served(VIEWS) == b"one\n"


def test_two_on_the_same_lines_come_back_in_their_order_only(shop: Fixed) -> None:
    shop.put("a", {VIEWS: "two\n"})
    shop.put("b", {VIEWS: "three\n"})
    seen = shop.seen()
    with pytest.raises(BadInput, match="cannot be taken back before b, put on it later") as caught:
        shop.back(revert="a")
    assert "rollback_hotfix=b" in caught.value.advice and VIEWS in str(caught.value) and shop.seen() == seen
    shop.serve_it(shop.back(revert="b"))
    shop.serve_it(shop.back(revert="a"))
    assert shop.served(VIEWS) == b"one\n"


def test_what_it_has_brought_or_set_does_not_go_by_itself(shop: Fixed) -> None:
    shop.put("new", {VIEWS: "two\n", "backend/shop/new.py": "new\n"})
    with pytest.raises(BadInput, match="can take no file away") as caught:
        shop.back(revert="new")
    assert f"rollback_to={shop.first[:12]}" in caught.value.advice
    assert shop.back(True, revert="new", revert_files=[VIEWS])["files"] == [VIEWS]
    ledger = str(shop.root / ".evenkeel")
    hotfix_ledger.write(ledger, "new", {"kinds": {"backend": [VIEWS], "env": ["KEY"]}}, "")
    with pytest.raises(BadInput, match="what KEY was before the hotfix new"):
        shop.back(revert="new")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"revert": "../x"}, "cannot be the name"),
        ({"revert_files": ["../x"]}, "not written plainly"),
        ({"revert": "nobody"}, "no hotfix of code that is in production is called nobody"),
        ({"revert": "a", "files": {VIEWS: "x\n"}}, "given as files"),
    ],
)
def test_what_cannot_be_is_refused_by_name(shop: Fixed, more: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        shop.back(**more)
    assert expected in str(caught.value)
