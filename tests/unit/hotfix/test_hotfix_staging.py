# SPDX-License-Identifier: GPL-3.0-or-later
"""What staging has tried goes to production, whatever its commits are called there, and nothing else does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix import staging
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import ledger, patch
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import staging as hotfix_staging
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.staging import Content, Host, Tried
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import project
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.unit.app_on_a_server import git
from tests.unit.engine_in_memory import EngineInMemory
from tests.unit.restored_folder import Restored
from tests.unit.serving_shop import VIEWS, new_shop

WANTED = Content("before", "after")
HOUR = 3600.0


def of(content: Content = WANTED, state: str = "verified", verified: float = 100 * 3600.0, name: str = "fix") -> Tried:
    return Tried(name, content, state, verified)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (Host("st", (of(),)), ""),
        (Host("st", (of(name="called otherwise"),)), ""),
        (Host("st", (of(Content("before", "after", env=("A", "B"))),)), ""),
        (Host("st"), "st does not know it"),
        (Host("st", problem="no route"), "st could not be asked: no route"),
        (Host("st", (of(state="built", verified=0),)), "st has not found it good"),
        (Host("st", (of(state="bad"),)), "st has taken it back"),
        (Host("st", (of(state="", verified=0),)), "st has not found it good"),
        (Host("st", (of(verified=75 * HOUR),)), "st found it good 25.0 h ago, which is too long"),
        (Host("st", (of(Content("older", "after")),)), "st has it on another revision"),
        (Host("st", (of(Content("before", "other")),)), "another change, or one of another revision, by the name fix"),
    ],
)
def test_a_host_has_it_or_says_why_not(host: Host, expected: str) -> None:
    verdict = staging.judge(WANTED, "fix", [host], 100 * HOUR, 24 * HOUR)
    assert verdict.host == ("" if expected else "st")
    assert expected in "".join(verdict.reasons) and bool(expected) == bool(verdict.reasons)


def test_one_of_several_is_enough_and_otherwise_all_say_why() -> None:
    others = [Host("a"), Host("b", problem="down")]
    assert staging.judge(WANTED, "fix", [*others, Host("c", (of(),))], 100 * HOUR, 1.0).host == "c"
    verdict = staging.judge(WANTED, "fix", others, 100 * HOUR, 1.0)
    assert len(verdict.reasons) == 2
    what, advice = staging.refusal(verdict, "fix", others)
    assert "a does not know it; b could not be asked: down" in what and "app_hosts=a)" in advice
    assert staging.judge(WANTED, "fix", [Host("c", (of(verified=1.0),))], 1e9, 0).host == "c"


def test_of_what_no_release_holds_the_content_counts_and_of_variables_the_names() -> None:
    placed = Content(sums={"app.js": "1"})
    assert staging.judge(placed, "x", [Host("a", (of(placed),))], 100 * HOUR, 1.0).host == "a"
    assert not staging.judge(placed, "x", [Host("a", (of(Content(sums={"app.js": "2"})),))], 100 * HOUR, 1.0).host
    env = Content("before", "before", env=("KEY",))
    assert not staging.judge(env, "x", [Host("a", (of(Content("before", "before")),))], 100 * HOUR, 1.0).host
    # What says nothing is nobody's.
    assert not staging.judge(Content(), "x", [Host("a", (of(Content()),))], 100 * HOUR, 1.0).host


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ({"static": ["a/static/app.js"]}, True),
        ({"backend": ["shop/templates/mail.txt", "locale/de/LC_MESSAGES/django.mo"], "static": ["x.css"]}, True),
        ({"media": ["banner.jpg"]}, True),
        ({"backend": ["shop/views.py"]}, False),
        ({"backend": ["shop/templates/tags.py"]}, False),
        ({"backend": ["shop/templates/a.html", "shop/views.py"]}, False),
        ({"nginx": ["deploy/nginx.conf"]}, False),
        ({"frontend": ["app.js"]}, False),
        ({"backend": ["a.html"], "env": ["KEY"]}, False),
        ({}, False),
    ],
)
def test_what_runs_no_code_is_trivial(kinds: dict[str, list[str]], expected: bool) -> None:
    assert staging.is_trivial(kinds) is expected


@pytest.mark.parametrize(
    "torn",
    [
        None,
        "x",
        [None],
        [{"host": "a", "tried": "x"}],
        [{"host": "a", "tried": [{"trees": [], "verified": "soon", "env": 1}]}],
    ],
)
def test_what_is_torn_has_tried_nothing(torn: Any) -> None:
    assert staging.judge(WANTED, "fix", staging.hosts(torn), 1000.0, 0).host == ""


# -- two servers -----------------------------------------------------------------------------------------------------


class Two:
    """Staging and production, each with a clone and commits of its own."""

    def __init__(self, folder: Path) -> None:
        self.staging, self.production = (new_shop(folder / name) for name in ("staging", "production"))

    def use_their_engines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def connect(path: str) -> EngineInMemory:
            return (self.staging if "/staging/" in path else self.production).engine

        self.staging.use_its_engine(monkeypatch)
        monkeypatch.setattr(project, "connect", connect)
        monkeypatch.setattr(patch, "connect", connect)

    def told(self) -> list[dict[str, Any]]:
        root = self.staging.root
        return [{"host": "st", "tried": hotfix_staging.tried(Store(str(root)), str(root / ".evenkeel")), "problem": ""}]

    def fix(self, check: bool = False, **more: Any) -> dict[str, Any]:
        given = {"files": {VIEWS: "two\n"}, "staging": self.told(), "staging_max_age": 60.0, **more}
        return self.production.fix(check, **given)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Restored[Two]:
    return Restored(tmp_path_factory.mktemp("two"), Two)


@pytest.fixture
def two(servers: Restored[Two], monkeypatch: pytest.MonkeyPatch) -> Two:
    made = servers()
    made.use_their_engines(monkeypatch)
    return made


def test_it_is_refused_until_staging_has_found_it_good(two: Two) -> None:
    seen = two.production.seen()
    for check in (True, False):
        with pytest.raises(BadInput, match="st does not know it"):
            two.fix(check)
    tried = two.staging.fix(files={VIEWS: "two\n"}, name="of-staging", reason="another message")
    with pytest.raises(BadInput, match="st has not found it good"):
        two.fix()
    assert two.production.seen() == seen and ledger.names(str(two.production.root / ".evenkeel")) == []
    two.staging("active", release=tried["release"])
    Store(str(two.staging.root)).note(tried["release"], state="verified", verified=time.time() - 5)
    with pytest.raises(BadInput, match="st does not know it"):
        two.fix(files={VIEWS: "three\n"})
    assert any("st found it good 0 min ago" in note for note in two.fix(True)["notes"])
    told = two.fix()
    assert told["changed"] and told["revision"] != tried["revision"]
    assert any("tried on staging: st" in note for note in told["notes"])


def test_a_reason_lets_it_through_and_is_recorded(two: Two) -> None:
    told = two.fix(skip_staging="the shop\nis down", name="now")
    assert any("the shop is down" in note for note in told["notes"])
    assert ledger.read(str(two.production.root / ".evenkeel"), "now")["untried"] == "the shop is down"


def test_another_revision_is_another_thing(two: Two) -> None:
    first = two.staging.fix(files={"backend/shop/urls.py": "other\n"}, name="a")
    two.staging("active", release=first["release"])
    image = two.staging.engine.names[f"shop-api:{first['revision'][:12]}"]
    for container in two.staging.engine.running:
        container["Image"] = image
    second = two.staging.fix(files={VIEWS: "two\n"}, name="b")
    two.staging("active", release=second["release"])
    assert git(two.staging.source, "status", "--porcelain") == ""
    with pytest.raises(BadInput, match="another change, or one of another revision, by the name b"):
        two.fix(name="b")
