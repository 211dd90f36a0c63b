# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads at the end: the same for every playbook, from the steps of its record alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.summary import FACTS, Story, report, summary

ASKED = {"step": "smoke_test", "result": "ok", "asked": "http://127.0.0.1/health/"}
V1, V2 = "1" * 40, "2" * 40


def step(name: str, **facts: Any) -> dict[str, Any]:
    return {"step": name, "result": "ok", **facts}


def release(**facts: Any) -> dict[str, Any]:
    return step(
        "symlink_release of /srv/shop",
        **{"release": "r2", "revision": V2, "rollback_target": "r1", "rollback_target_revision": V1, **facts},
    )


def update(*steps: dict[str, Any], **facts: Any) -> list[str]:
    return summary(replace(Story("update", "shop", "v2", 41.26, steps=(*steps, ASKED)), **facts))


def test_an_update_says_where_the_app_is_and_what_a_rollback_would_do() -> None:
    rolled = step("compose_rolling of shop", changed=True, msg="api: 1 replaced")
    assert update(release(changed=True), rolled) == [
        "shop is at v2 (222222222222), verified, after 41.3 s",
        "api: 1 replaced",
        "if it was wrong: ansible-playbook evenkeel.deploy.rollback goes back to 111111111111",
    ]


def test_what_changed_nothing_says_so_and_no_more_than_that() -> None:
    lines = update(release(), step("compose_rolling of shop", msg="all of it is there"))
    assert lines[0] == "shop already was at v2 (222222222222), verified, after 41.3 s"
    assert "all of it is there" not in lines


def test_the_verdict_on_the_schema_is_part_of_the_way_back() -> None:
    asked = step(
        "django_migrate", project="r1", comes_back=False, schema_compatibility="restore", msg="0003 dropped a column"
    )
    assert update(release(), asked)[-1] == (
        "if it was wrong: ansible-playbook evenkeel.deploy.rollback refuses 111111111111 (verdict restore): 0003 dropped a column"
    )
    # Of the release that is brought in it says nothing about the way back.
    assert "goes back to 111111111111" in update(release(), {**asked, "project": "r2"})[-1]
    unseen = step("django_migrate", project="r1", result="failed: no answer from the database")
    assert (
        "may refuse 111111111111, which could not be asked about the database: no answer"
        in update(release(), unseen)[-1]
    )


def test_what_is_contracted_with_the_older_code_is_no_verdict_on_it() -> None:
    # It runs with the image of the release that is left, which is the one to go back to.
    contracted = step("django_migrate of shop", project="r1", msg="it waits for what still runs")
    assert update(release(), contracted)[-1].endswith("goes back to 111111111111")


def test_a_first_release_and_a_rollback_promise_no_way_back() -> None:
    assert not any(
        "if it was wrong" in line for line in update(release(rollback_target="", rollback_target_revision=""))
    )
    assert not any("if it was wrong" in line for line in update(release(rollback_target_revision=V2)))
    back = summary(Story("rollback", "shop", "the release before", 12.0, steps=[release(changed=True), ASKED]))
    assert back == ["shop is at r2 (222222222222), verified, after 12.0 s"]


def test_what_failed_on_the_way_of_an_operation_that_succeeded_is_a_note() -> None:
    refs = step("release_refs", result="failed: the repository cannot be reached", msg="What: the repository …")
    lines = update(release(changed=True), refs)
    assert "note: release_refs failed: the repository cannot be reached" in lines
    assert not any("What:" in line for line in lines)


def test_notes_are_told_once() -> None:
    noted = step("compose_project of shop", notes=["nginx has a fixed name", "two"])
    assert update(release(), noted, noted).count("note: nginx has a fixed name") == 1


def test_without_a_url_nothing_is_called_verified() -> None:
    lines = summary(
        Story("update", "shop", "v2", 41.26, steps=[release(changed=True), {**ASKED, "result": "failed: 502"}])
    )
    assert lines[0] == "shop is at v2 (222222222222), switched, after 41.3 s"
    assert "note: nobody looked whether it serves: app_health_url says what to ask" in lines


def test_what_only_a_private_address_answered_is_not_called_verified() -> None:
    looks = [ASKED, {"step": "smoke_test", "result": "ok"}]
    assert "switched" in summary(Story("update", "shop", "v2", 41.26, steps=[release(changed=True), *looks]))[0]


def test_a_hotfix_of_no_release_says_what_was_done_and_how_it_goes_again() -> None:
    done = step(
        "hotfix_live of /srv/shop",
        changed=True,
        msg="media hotfix logo applied: logo.png",
        next=["if it was wrong: that"],
    )
    assert summary(Story("hotfix", "shop", "hotfix_media=logo.png", 3.0, steps=[done])) == [
        "shop: hotfix_media=logo.png done, after 3.0 s", "media hotfix logo applied: logo.png", "if it was wrong: that",
    ]  # fmt: skip
    again = step("hotfix_live of /srv/shop", msg="hotfix logo: nothing to change")
    assert summary(Story("hotfix", "shop", "hotfix_media=logo.png", 1.0, steps=[again])) == [
        "shop: hotfix_media=logo.png had nothing to change, after 1.0 s", "hotfix logo: nothing to change",
    ]  # fmt: skip


def test_a_plan_says_that_nothing_was_touched_and_how_it_is_done() -> None:
    built = step("compose_build of shop", changed=True, msg="built: shop-api:222")
    lines = summary(Story("plan", "shop", "v2", 9.0, steps=[release(), built]))
    assert lines == [
        "shop: v2 is planned, and nothing that runs was touched, after 9.0 s",
        "built: shop-api:222",
        "to do it: ansible-playbook evenkeel.deploy.update -e update_version=v2",
    ]
    # A plain folder has one version.
    assert summary(Story("plan", "shop", "", 9.0))[-1] == "to do it: ansible-playbook evenkeel.deploy.update"


def test_check_mode_tells_what_would_be_and_promises_nothing() -> None:
    bare = {"changed": True, "release": "", "revision": V2, "current_revision": "", "msg": "unknown until built"}
    assert update(bare, check_mode=True) == ["shop: the first release would be 222222222222", "unknown until built"]
    there = {**bare, "current_revision": V1, "rollback_target_revision": V1, "next": ["if it was wrong: that"]}
    assert update(there, check_mode=True)[0] == "shop: 111111111111 would be replaced by 222222222222"
    assert not any("if it was wrong" in line for line in update(there, check_mode=True))
    same = {"changed": False, "release": "r2", "revision": V2, "current_revision": V2}
    assert update(same, {}, check_mode=True) == ["shop is at v2 (222222222222): nothing would change"]


RESULTS = st.dictionaries(
    st.sampled_from([*FACTS, "changed", "msg", "notes", "password", "images"]),
    st.one_of(st.booleans(), st.text(max_size=9), st.lists(st.text(max_size=9), max_size=3)), max_size=6,
)  # fmt: skip


@given(RESULTS)
def test_a_record_keeps_of_a_result_only_what_is_named(result: dict[str, Any]) -> None:
    result = {key: [value] if key == "notes" else value for key, value in result.items()}
    assert set(report(result)) <= {*FACTS, "changed", "msg", "notes"}


def test_what_makes_an_update_verified_is_kept_in_its_record() -> None:
    kept = report({"changed": False, "asked": "http://127.0.0.1/health/", "notes": [], "msg": "answers as it should"})
    looked = {"step": "smoke_test", "result": "ok", **kept}
    assert "verified" in summary(Story("update", "shop", "v2", 41.26, steps=[release(changed=True), looked]))[0]


def test_a_record_does_not_grow_with_a_plan() -> None:
    kept = report({"msg": "x" * 10**6, "notes": ["n"] * 10**4})
    assert len(kept["msg"]) <= 4000 and len(kept["notes"]) <= 40


def test_steps_that_are_missing_on_record_are_not_taken_for_steps_that_were_not_done() -> None:
    told = Story("update", "shop", "v2", 41.26, steps=(release(),), unwritten="No space left on device")
    assert summary(told) == [
        "shop is at v2 (222222222222), after 41.3 s",
        "note: what was done is not all told here, since it could not be written down: No space left on device",
        "if it was wrong: ansible-playbook evenkeel.deploy.rollback --check tells whether it can go back to 111111111111",
    ]
    refused = step("django_migrate", project="r1", comes_back=False, schema_compatibility="restore", msg="gone")
    assert "refuses 111111111111 (verdict restore)" in summary(replace(told, steps=(release(), refused, ASKED)))[-1]
    assert "verified" in summary(replace(told, steps=(release(), ASKED)))[0]
