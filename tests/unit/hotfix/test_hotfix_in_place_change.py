# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``hotfix_in_place`` on a real repository and real records; the containers only remember what they were brought to."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import hotfix_in_place
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import (
    in_place_change,
    in_place_record,
    in_place_wanted,
    ledger,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host.in_place_record import Record
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.in_place import SIGNAL, Copy, Plan
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.roller import StepFailed
from tests.unit.app_on_a_server import commit
from tests.unit.restored_folder import Restored
from tests.unit.serving_shop import VIEWS, Shop

NEW = "backend/shop/new.py"


class Containers:
    """What the app's containers have, and what becomes of a run on them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | None] = {}
        self.runs: list[tuple[str, str]] = []
        self.fails: list[BaseException] = []
        self.wrong: list[StepFailed] = []
        self.asked = 0
        self.unholdable = ""

    def place(self, _call: Any, _machine: Any, record: Record, image_of: dict[str, str]) -> Any:
        return Place(self, record, sorted(image_of))


class Place:
    """One call's view of these, as the real one is used."""

    def __init__(self, containers: Containers, record: Record, services: Sequence[str]) -> None:
        self.containers, self.record, self.services = containers, record, services
        self.wanted = {
            e.path: e.after if record.goal == "applied" else e.before for es in record.images.values() for e in es
        }
        self.known = {e.path: e for es in record.images.values() for e in es}
        self.call = SimpleNamespace(problems={}, project={"services": {}}, engine=None)
        self.notes: list[str] = []
        self.timeline: list[dict[str, Any]] = []

    def look(self) -> list[Copy]:
        there = {path: self.containers.files.get(path, entry.before) for path, entry in self.known.items()}
        if not all(self.record.knows(self.known[path], content) for path, content in there.items()):
            raise StepFailed("api-1: somebody else's")
        done = there == self.wanted
        more = {"written": done, "keeps": not done, "by_signal": True, "unholdable": self.containers.unholdable}
        return [Copy("a", "api-1", "api", "web", **more)]

    def run(self, _fence: Any, plan: Plan) -> None:
        assert all(t.reload == SIGNAL for t in plan.turns)
        if plan.turns:
            self.containers.runs.append((self.record.goal, self.record.reason))
        if self.containers.fails:
            self.containers.files.update(self.wanted)
            raise self.containers.fails.pop(0)
        self.containers.files.update(self.wanted)

    def run_smoke_tests(self) -> None:
        self.containers.asked += 1
        if self.containers.wrong:
            raise self.containers.wrong.pop()

    def changed_since(self) -> list[tuple[str, str, str, float]]:
        return []


@pytest.fixture
def there() -> Containers:
    return Containers()


@pytest.fixture
def shop(shops: Restored[Shop], there: Containers, monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = shops()
    made.use_its_engine(monkeypatch, in_place_change)
    monkeypatch.setattr(in_place_wanted, "checked", lambda *_args, **_more: [])
    monkeypatch.setattr(in_place_change, "prepare", lambda _asked: SimpleNamespace(notes=[]))
    monkeypatch.setattr(in_place_change, "machine_of", lambda _call: None)
    monkeypatch.setattr(in_place_change, "InPlace", there.place)
    monkeypatch.setattr(in_place_change.os, "geteuid", lambda: 0)
    return made


def put(shop: Shop, files: dict[str, str] | None = None, check: bool = False, **more: Any) -> dict[str, Any]:
    given = [{"path": p, "content": base64.b64encode(t.encode()).decode()} for p, t in (files or {}).items()]
    params = {
        "path": str(shop.root), "repo": str(shop.source), "files": given, "compose_files": ["docker-compose.prod.yml"],
        "env_files": [".env"], "shared": [".env"], "django_service": "api", "manage_py": "manage.py", "timeout": 10.0,
        "max_files": 20, "max_lines": 400, "state": "applied", "name": "night", "log_lines": 50, "allow_downtime": False, **more,
    }  # fmt: skip
    return hotfix_in_place.call(params, check)


def state(shop: Shop) -> str:
    return str(shop.root / ".evenkeel")


def test_it_is_put_there_remembered_and_the_second_time_nothing_is_done(shop: Shop, there: Containers) -> None:
    files = {VIEWS: "two\n", NEW: "new\n"}
    before = {str(p) for p in shop.root.rglob("*")}
    told = put(shop, files, check=True)
    assert told["changed"] and "its workers start anew" in told["msg"] and "-one\n+two" in told["diff"]["prepared"]
    assert {str(p) for p in shop.root.rglob("*")} == before and there.files == {}
    told = put(shop, files)
    assert told["changed"] and there.files == {"/app/shop/views.py": b"two\n", "/app/shop/new.py": b"new\n"}
    assert told["files"] == [NEW, VIEWS] and "hotfix_capture=true -e hotfix_name=night" in told["seal"]
    kept = in_place_record.read(state(shop))
    assert kept is not None and kept.commit == told["revision"] and kept.release == shop.names()[0]
    entry = next(e for e in kept.images[f"shop-api:{shop.first[:12]}"] if e.tree == VIEWS)
    assert (entry.before, entry.after, entry.uid, entry.mode) == (b"one\n", b"two\n", 1000, 0o640)
    assert ledger.read(state(shop), "night")["in_place"] == shop.names()[0]
    again = put(shop, files)
    assert not again["changed"] and "already" in again["msg"] and there.runs == [("applied", "")]


def test_another_one_is_refused_and_under_its_name_it_becomes_the_other(shop: Shop, there: Containers) -> None:
    put(shop, {VIEWS: "two\n", NEW: "new\n"})
    with pytest.raises(BadInput) as caught:
        put(shop, {VIEWS: "three\n"}, name="other")
    assert "seal it" in caught.value.message() and "-e hotfix_name=night" in caught.value.message()
    told = put(shop, {VIEWS: "three\n"})
    assert told["files"] == [VIEWS] and there.files == {"/app/shop/views.py": b"three\n", "/app/shop/new.py": None}
    assert put(shop, {}, state="reverted")["changed"] and there.files["/app/shop/views.py"] == b"one\n"


def test_by_its_name_it_is_taken_back_once(shop: Shop, there: Containers) -> None:
    assert put(shop, state="reverted")["known"] is False
    put(shop, {VIEWS: "two\n"})
    assert put(shop, state="reverted", name="x")["known"] is False and there.files["/app/shop/views.py"] == b"two\n"
    assert put(shop, state="reverted", check=True)["changed"] and there.files["/app/shop/views.py"] == b"two\n"
    told = put(shop, state="reverted")
    assert told["changed"] and told["known"] and told["seal"] == "" and there.files["/app/shop/views.py"] == b"one\n"
    assert in_place_record.read(state(shop)) is None and ledger.read(state(shop), "night")["reverted"]
    assert put(shop, state="reverted")["known"] is False


def test_what_fails_is_put_back_and_told(shop: Shop, there: Containers) -> None:
    there.fails = [StepFailed("api-1 GET /x answered 500")]
    told = put(shop, {VIEWS: "two\n"})
    assert told["failed"] and told["rolled_back"] and "GET /x answered 500" in told["msg"] and "Next:" in told["msg"]
    assert there.files["/app/shop/views.py"] == b"one\n" and in_place_record.read(state(shop)) is None
    assert there.runs[1] == ("reverted", "api-1 GET /x answered 500")


def test_killed_on_the_way_back_the_next_run_ends_that_and_fails_with_the_reason(shop: Shop, there: Containers) -> None:
    there.fails = [StepFailed("it is bad"), KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        put(shop, {VIEWS: "two\n"})
    with pytest.raises(BadInput, match="it is bad"):
        put(shop, {VIEWS: "two\n"})
    assert in_place_record.read(state(shop)) is None and there.files["/app/shop/views.py"] == b"one\n"
    assert put(shop, {VIEWS: "two\n"})["changed"]


@pytest.mark.parametrize("answers", [[], [StepFailed("GET /x answered 500")]], ids=["rightly", "wrongly"])
def test_killed_before_the_site_was_asked_it_is_asked_by_the_same_call_and_once(
    shop: Shop, there: Containers, answers: list[StepFailed]
) -> None:
    there.fails, there.wrong = [KeyboardInterrupt()], list(answers)
    with pytest.raises(KeyboardInterrupt):
        put(shop, {VIEWS: "two\n"})
    assert there.files["/app/shop/views.py"] == b"two\n" and there.asked == 0
    told = put(shop, {VIEWS: "two\n"})
    assert there.asked == 1
    if answers:
        assert told["failed"] and "GET /x answered 500" in told["msg"] and there.files["/app/shop/views.py"] == b"one\n"
        assert in_place_record.read(state(shop)) is None
    else:
        assert told["changed"] and there.files["/app/shop/views.py"] == b"two\n"
        assert not put(shop, {VIEWS: "two\n"})["changed"] and there.asked == 1


def test_killed_while_it_is_taken_back_either_command_ends_it(shop: Shop, there: Containers) -> None:
    for state_asked in ("reverted", "applied"):
        put(shop, {VIEWS: "two\n"})
        there.fails = [KeyboardInterrupt()]
        with pytest.raises(KeyboardInterrupt):
            put(shop, state="reverted")
        told = put(shop, {VIEWS: "two\n"} if state_asked == "applied" else {}, state=state_asked)
        assert told["changed"] and there.files["/app/shop/views.py"] == (
            b"two\n" if state_asked == "applied" else b"one\n"
        )


def test_where_it_breaks_off_on_the_way_back_what_was_there_is_kept(shop: Shop, there: Containers) -> None:
    there.fails = [StepFailed("it is bad"), StepFailed("it does not start")]
    with pytest.raises(BadInput) as caught:
        put(shop, {VIEWS: "two\n"})
    assert "it does not start" in caught.value.message() and "it stopped where it was" in caught.value.message()
    kept = in_place_record.read(state(shop))
    assert kept is not None and kept.goal == "reverted"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"deploy/nginx.conf": "server { }\n"}, "kind nginx"),
        ({"backend/shared/texts.py": "x\n"}, "is mounted"),
        ({"backend/Dockerfile": "x\n"}, "how images are built"),
        ({"README.md": "x\n"}, "in no container"),
    ],
)
def test_what_is_no_hotfix_for_running_containers_is_refused(shop: Shop, files: dict[str, str], expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        put(shop, files)
    assert expected in caught.value.message() and in_place_record.read(state(shop)) is None


def test_a_gap_needs_consent_and_a_hand_edit_stops_it(shop: Shop, there: Containers) -> None:
    there.unholdable = "nft is missing"
    with pytest.raises(BadInput) as caught:
        put(shop, {VIEWS: "two\n"})
    assert "nft is missing" in caught.value.message() and "hotfix_allow_downtime=true" in caught.value.message()
    there.files["/app/shop/views.py"] = b"nano\n"
    with pytest.raises(BadInput, match="somebody else's"):
        put(shop, {VIEWS: "two\n"}, allow_downtime=True)
    assert there.runs == [] and in_place_record.read(state(shop)) is None


# -- until it is sealed ---------------------------------------------------------------------------------


def test_sealed_by_the_same_files_or_by_capture_and_no_other_hotfix_takes_it_away(shop: Shop) -> None:
    put(shop, {VIEWS: "two\n"})
    shop.engine.edited["/app/shop/views.py"] = "two\n"
    with pytest.raises(BadInput) as caught:
        shop.fix(files={"backend/shop/urls.py": "other\n"}, name="other")
    assert "the hotfix night" in caught.value.message() and "seal it first" in caught.value.message()
    told = shop.fix(files={VIEWS: "two\n"}, name="night")
    assert told["changed"]
    captured = shop.fix(capture=True, name="night")
    assert captured["revision"] == told["revision"]
    shop("active", release=told["release"])
    assert in_place_record.read(state(shop)) is None


def test_what_somebody_edited_on_top_of_it_is_not_sealed_away(shop: Shop) -> None:
    put(shop, {VIEWS: "two\n"})
    shop.engine.edited["/app/shop/views.py"] = "two, and nano\n"
    with pytest.raises(BadInput, match="by hand"):
        shop.fix(files={VIEWS: "two\n"}, name="night")


def test_an_update_that_lacks_it_is_refused_until_it_is_let_go(shop: Shop) -> None:
    put(shop, {VIEWS: "two\n"})
    # The release in whose containers it is keeps them.
    assert shop(inputs=shop.inputs)["release"] == shop.names()[0]
    (shop.source / "backend/shop/urls.py").write_text("later\n")
    commit(shop.source)
    with pytest.raises(BadInput) as caught:
        shop(inputs=shop.inputs)
    assert "lacks the hotfix night" in caught.value.message() and "seal it first" in caught.value.message()
    assert shop(inputs=shop.inputs, drop_hotfixes=["night"])["changed"]


def test_what_services_say_of_themselves_is_asked_unless_the_call_says_that_nothing_is(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def prepare(given: Any) -> Any:
        asked.append(given.common.prove)
        return SimpleNamespace(notes=[])

    monkeypatch.setattr(in_place_change, "prepare", prepare)
    for more in ({}, {"prove": None}, {"prove": []}, {"prove": [{"path": "/"}]}):
        put(shop, {VIEWS: "two\n"}, check=True, **more)
    assert asked == [None, None, (), ({"path": "/"},)]
