# SPDX-License-Identifier: GPL-3.0-or-later
"""A variable that is almost one of ours is refused, and nobody's own is."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.filter.misspelt import almost, misspelt, our_names

OPTIONS, WORDS = our_names()
#: One slip each: a letter left out, doubled, exchanged with the next, and another one.
SLIPS = {
    "left out": lambda n, i: n[:i] + n[i + 1 :],
    "doubled": lambda n, i: n[:i] + n[i] + n[i:],
    "exchanged": lambda n, i: n[:i] + n[i + 1] + n[i] + n[i + 2 :],
    "another": lambda n, i: n[:i] + "x" + n[i + 1 :],
}


def test_all_that_may_be_set_is_known() -> None:
    assert {"app_name", "update_version", "hotfix_files", "rollback_hotfix", "backup_keep"} <= OPTIONS <= WORDS
    assert len(OPTIONS) > 100 and "app_hosts" in WORDS - OPTIONS


@pytest.mark.parametrize("slip", SLIPS)
def test_one_slip_is_seen_wherever_it_is(slip: str) -> None:
    missed = []
    for option in sorted(OPTIONS):
        # Two slips in a short name make another one.
        for place in range(option.index("_") + 1, len(option) - 1) if len(option) > 9 else ():
            wrong = SLIPS[slip](option, place)
            if wrong not in WORDS and not misspelt([wrong]):
                missed.append(f"{wrong} for {option}")
    assert missed == []


def test_what_it_says() -> None:
    assert misspelt(["update_verson", "app_servces"]) == [
        "app_servces (app_services?)",
        "update_verson (update_version?)",
    ]
    assert misspelt(["update_verson"], own=["update_verson"]) == []


def test_ours_and_somebodys_own_are_left_alone() -> None:
    assert misspelt(WORDS) == []
    own = """app_domain app_user app_port app_version app_env app_url app_secret app_dir app_group app_path app_config app_host_name
    app_db_host backup_host backup_user backup_schedule backup_bucket update_time update_cache update_packages restore_from
    status_code status_page guard_interval verify_ssl rollback_enabled hotfix_window adopt_everything ansible_host nginx_port"""
    assert misspelt(own.split()) == []


def test_names_of_others_are_never_looked_at() -> None:
    assert almost(["apt_services", "services"], {"app_services"}, {"app_services"}) == []
