# SPDX-License-Identifier: GPL-3.0-or-later
"""When nginx has to load again, and when it is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.guard import guard, notes
from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.guard import (
    Backend,
    Memory,
    Name,
    Nothing,
    Pinned,
    Reload,
    Seen,
    Verdict,
    Wait,
    decide,
    is_proxied,
    refused,
    reloaded,
    remember,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import parse


def box(address: str, started: float = 10.0, created: float = 1.0, listening: bool = True, key: str = "") -> Backend:
    return Backend(key or f"at-{address}", frozenset({address}), started, listening, "api", created)


def seen(now: float, *backends: Backend, loaded: float = 100.0, busy: bool = False, **pins: Pinned) -> Seen:
    return Seen(now, "nginx", loaded, (Name("api", backends),), pins, busy)


def told(memory: Memory, *moments: Seen) -> tuple[Memory, Verdict]:
    """What is decided at the last of several looks."""
    for moment in moments:
        memory = remember(memory, moment)
    return memory, decide(memory, moments[-1])


def knowing(*addresses: str, loaded: float = 100.0) -> Memory:
    """A memory in which nginx knows these."""
    memory = remember(Memory(), seen(200.0, *(box(a) for a in addresses), loaded=loaded))
    assert memory.known["api"] == set(addresses)
    return memory


def test_what_started_before_nginx_loaded_is_known() -> None:
    assert told(Memory(), seen(200.0, box("1"), box("2")))[1] == Nothing()


def test_what_started_later_is_unknown_and_believed_after_a_moment() -> None:
    memory, verdict = told(Memory(), seen(200.0, box("7", started=199.0)))
    assert verdict == Wait(guard.SETTLE, "api may change again")
    assert decide(memory, seen(200.9, box("7", started=199.0))) == Wait(pytest.approx(0.1), "api may change again")
    assert decide(memory, seen(201.0, box("7", started=199.0))) == Reload("api is at 7 now")


def test_what_started_a_moment_before_nginx_loaded_is_in_doubt() -> None:
    assert isinstance(told(Memory(), seen(200.0, box("7", started=99.0)))[1], Wait)


def test_a_restart_at_the_same_address_is_nothing() -> None:
    assert told(knowing("3"), seen(300.0), seen(301.0, box("3", started=300.5)))[1] == Nothing()


def test_one_that_does_not_listen_is_waited_for_but_not_for_ever() -> None:
    memory = knowing("3")
    late = box("7", started=300.0, listening=False)
    assert told(memory, seen(301.0, box("3"), late))[1] == Wait(0.25, "it does not listen yet")
    assert told(memory, seen(350.0, box("3"), late))[1] == Wait(5.0, "it does not listen yet")
    verdict = told(memory, seen(360.0, box("3"), late), seen(361.5, box("3"), late))[1]
    assert verdict == Reload("api is at 7 now")
    # One that boots where nginx looks for it anyhow is no matter.
    assert told(memory, seen(301.0, box("3", started=300.0, listening=False)))[1] == Nothing()


def test_nothing_that_runs_is_nothing_to_tell_nginx() -> None:
    assert told(knowing("3"), seen(300.0), seen(400.0))[1] == Nothing()
    assert told(Memory(), seen(300.0, box("7", started=299.0), loaded=0.0))[1] == Nothing()


def test_one_that_is_gone_for_good_is_taken_out_after_a_while() -> None:
    memory, verdict = told(knowing("3", "4"), seen(300.0, box("3")))
    assert verdict == Wait(guard.GONE, "api may change again")
    assert decide(memory, seen(330.0, box("3"))) == Reload("api is no more at 4")
    memory, verdict = told(memory, seen(320.0, box("3"), box("4", started=319.0)))
    assert verdict == Nothing()


def test_after_a_reload_of_ours_exactly_what_was_there_is_known() -> None:
    moment = seen(300.0, box("7", started=299.9))
    memory = remember(knowing("3"), moment)
    memory = reloaded(memory, moment, Reload("why"), 300.2)
    assert told(memory, replace(moment, now=301.0, loaded=300.2))[1] == Nothing()
    assert isinstance(told(memory, seen(302.0, box("8", started=300.1), loaded=300.2))[1], Wait)


def test_each_reload_makes_it_more_patient_and_ten_quiet_minutes_less_again() -> None:
    memory = knowing("3")
    for count in range(8):
        fresh = seen(300.0 + count, box(f"1{count}", started=300.0 + count))
        memory = remember(memory, fresh)
        assert decide(memory, fresh) == Wait(min(guard.LONGEST_SETTLE, 2.0**count), "api may change again")
        memory = reloaded(memory, fresh, Reload("why"), 100.0)
    later = seen(308.0 + guard.RECENT, box("9", started=1000.0))
    assert decide(remember(memory, later), later) == Wait(guard.SETTLE, "api may change again")


def test_while_somebody_works_only_an_outage_counts() -> None:
    beside = (box("3"), box("7", started=299.0))
    assert told(knowing("3"), seen(300.0, *beside, busy=True), seen(400.0, *beside, busy=True))[1] == Wait(
        10.0, "an operation is at work"
    )
    moved = seen(300.0, box("7", started=299.0), busy=True)
    memory, verdict = told(knowing("3"), moved)
    assert verdict == Wait(guard.BUSY_SETTLE, "api may change again")
    assert decide(memory, replace(moved, now=303.0)) == Reload("api is at 7 now and api is no more at 3")


def test_what_nginx_refuses_is_tried_again_later_and_later_or_when_something_changes() -> None:
    moved = seen(300.0, box("7", started=299.0))
    memory = remember(knowing("3"), moved)
    tries = []
    now = 301.0
    while len(tries) < 9:
        memory = remember(memory, replace(moved, now=now))
        verdict = decide(memory, replace(moved, now=now))
        if isinstance(verdict, Wait):
            now += verdict.seconds
        else:
            tries.append(now)
            memory = refused(memory, replace(moved, now=now), verdict)
    assert [round(after - before) for before, after in zip(tries, tries[1:])] == [15, 30, 60, 120, 240, 480, 600, 600]
    other = seen(now + 1, box("8", started=now))
    assert told(memory, other, replace(other, now=now + 61))[1] == Reload("api is at 8 now and api is no more at 3")
    # Somebody else had it load: whatever was refused is over.
    assert remember(memory, replace(moved, loaded=250.0)).refused is None


def test_a_load_by_somebody_else_is_judged_by_time() -> None:
    memory = knowing("3")
    assert told(memory, seen(300.0, box("7", started=250.0), loaded=260.0))[1] == Nothing()
    # The same load, seen with a slightly corrected clock.
    assert remember(memory, seen(300.0, loaded=100.2)).known == memory.known
    assert remember(memory, Seen(300.0, "another nginx", 100.0, (Name("api", (box("5"),)),))).known["api"] == {"5"}


def test_a_pin_says_what_nginx_knows() -> None:
    old, new = box("3"), box("7", started=90.0, created=90.0)
    pin = Pinned(frozenset({"3"}), 95.0)
    assert remember(Memory(), seen(200.0, old, new, api=pin)).known["api"] == {"3"}
    # Written, and nothing loaded since.
    assert remember(Memory(), seen(200.0, old, new, api=replace(pin, written=150.0))).known["api"] == {"3", "7"}


def test_a_pin_that_leads_to_living_containers_is_left_alone() -> None:
    pin = Pinned(frozenset({"3"}), 150.0)
    unproven = box("7", started=299.0, created=299.0)
    assert told(knowing("3"), seen(300.0, box("3"), unproven, api=pin), seen(999.0, box("3"), unproven, api=pin))[
        1
    ] == (Nothing())


def pinned_and_moved(*others: Backend, busy: bool = False) -> Verdict:
    """A killed roll had pinned 3, whose container came back at 8."""
    back = box("8", started=299.0, created=1.0, key="at-3")
    pin = Pinned(frozenset({"3"}), 150.0)
    looks = [seen(now, back, *others, busy=busy, api=pin) for now in (300.0, 304.0)]
    return told(knowing("3"), *looks)[1]


def test_a_stale_pin_is_taken_away_where_all_that_runs_was_there_before() -> None:
    verdict = pinned_and_moved()
    assert isinstance(verdict, Reload)
    assert verdict.repins == (guard.Repin("api", ("api",), frozenset()),)


@pytest.mark.parametrize("busy", [False, True])
def test_a_stale_pin_is_moved_where_there_is_one_that_was_never_proven(busy: bool) -> None:
    verdict = pinned_and_moved(box("7", started=200.0, created=200.0), busy=busy)
    assert isinstance(verdict, Reload)
    assert verdict.repins == (guard.Repin("api", ("api",), frozenset({"8"})),)


def test_a_pinned_address_that_went_to_one_that_was_never_proven_is_stale() -> None:
    verdict = pinned_and_moved(box("3", started=299.0, created=200.0, key="unproven"), busy=True)
    assert isinstance(verdict, Reload)
    assert verdict.repins == (guard.Repin("api", ("api",), frozenset({"8"})),)


def test_where_only_unproven_ones_are_left_they_serve_but_not_while_somebody_works() -> None:
    unproven = box("7", started=200.0, created=200.0)
    pin = Pinned(frozenset({"3"}), 150.0)

    def after(busy: bool) -> Verdict:
        return told(knowing("3"), *(seen(now, unproven, busy=busy, api=pin) for now in (300.0, 310.0)))[1]

    assert isinstance(after(False), Reload)
    assert after(True) == Nothing()


def test_a_pin_of_our_own_does_not_make_the_unproven_trusted() -> None:
    back, unproven = box("8", started=299.0, key="old"), box("7", started=200.0, created=200.0)
    moment = seen(304.0, back, unproven, api=Pinned(frozenset({"3"}), 150.0))
    memory = remember(knowing("3"), moment)
    done = Reload("why", (guard.Repin("api", ("api",), frozenset({"8"})),))
    memory = reloaded(memory, moment, done, 305.0)
    assert memory.known["api"] == {"8"}
    ours = Pinned(frozenset({"8"}), 304.5)
    again = box("9", started=400.0, key="old")
    looks = [seen(now, again, replace(unproven, started=399.0), loaded=305.0, api=ours) for now in (401.0, 410.0)]
    verdict = told(memory, *looks)[1]
    assert isinstance(verdict, Reload)
    assert verdict.repins[0].addresses == {"9"}


def test_a_pin_of_our_own_that_nginx_refused_to_load_does_not_make_the_unproven_trusted() -> None:
    back, unproven = box("8", started=299.0, key="old"), box("7", started=200.0, created=200.0)
    moment = seen(304.0, back, unproven, api=Pinned(frozenset({"3"}), 150.0))
    wanted = Reload("why", (guard.Repin("api", ("api",), frozenset({"8"})),))
    memory = refused(remember(knowing("3"), moment), moment, wanted)
    # Each comes back where the other was.
    swapped = (box("7", started=399.0, key="old"), box("8", started=398.0, created=200.0, key="unproven"))
    looks = [seen(now, *swapped, api=Pinned(frozenset({"8"}), 304.5)) for now in (401.0, 410.0)]
    verdict = told(memory, *looks)[1]
    assert isinstance(verdict, Reload)
    assert verdict.repins[0].addresses == {"7"}


def test_one_of_several_pinned_addresses_that_went_to_an_unproven_one_is_taken_out_of_the_pin() -> None:
    stranger = box("5", started=299.0, created=299.0)
    web = replace(box("9", started=299.0), service="web")
    pins = {"api": Pinned(frozenset({"3", "5"}), 150.0)}
    looks = [
        Seen(now, "nginx", 100.0, (Name("api", (box("3"), stranger)), Name("web", (web,))), pins)
        for now in (300.0, 310.0)
    ]
    verdict = told(knowing("3", "5"), *looks)[1]
    assert isinstance(verdict, Reload) and verdict.why == "web is at 9 now"
    assert verdict.repins == (guard.Repin("api", ("api",), frozenset({"3"})),)


def test_while_somebody_works_one_unproven_is_not_given_up_for_another_at_the_pinned_address() -> None:
    serving, other = box("5", started=160.0, created=160.0), box("3", started=299.0, created=299.0)
    pin = Pinned(frozenset({"3"}), 150.0)
    memory = remember(Memory(), seen(200.0, replace(serving, created=1.0), loaded=170.0))
    looks = [seen(now, serving, other, loaded=170.0, busy=True, api=pin) for now in (300.0, 310.0)]
    assert memory.known["api"] == {"5"} and not isinstance(told(memory, *looks)[1], Reload)


def test_a_pin_of_a_roll_for_the_addresses_of_our_own_trusts_whom_the_roll_found() -> None:
    moment = seen(304.0, box("8", started=299.0, key="old"), api=Pinned(frozenset({"3"}), 150.0))
    done = Reload("why", (guard.Repin("api", ("api",), frozenset({"8"})),))
    memory = reloaded(remember(knowing("3"), moment), moment, done, 305.0)
    later = box("7", started=450.0, created=310.0)

    def repins(written: float) -> frozenset[str]:
        pin = Pinned(frozenset({"8"}), written)
        boxes = (box("9", started=500.0, key="old"), later)
        verdict = told(memory, *(seen(now, *boxes, loaded=305.0, api=pin) for now in (501.0, 600.0)))[1]
        assert isinstance(verdict, Reload)
        return verdict.repins[0].addresses

    # Where all that runs is to be known, no pin is needed.
    assert repins(304.5) == {"9"} and repins(400.0) == frozenset()


def test_while_somebody_works_whoever_was_proven_serves_as_well_as_a_pinned_one() -> None:
    pin = Pinned(frozenset({"7"}), 250.0)
    boxes = (box("5"), box("7", started=200.0, created=200.0))
    verdict = told(knowing("5"), *(seen(now, *boxes, busy=True, api=pin) for now in (300.0, 310.0)))[1]
    assert not isinstance(verdict, Reload)


def test_needs_a_guard_is_who_resolves_a_container_once() -> None:
    assert is_proxied(seen(1.0, box("3")))
    assert not is_proxied(seen(1.0))


@pytest.mark.parametrize(
    ("printed", "config", "suggested"),
    [
        ("nginx version: nginx/1.27.4", "http { server { listen 80; } }", True),
        ("nginx version: nginx/1.29.0 (Debian)", "http { keepalive_timeout 5s; }", True),
        ("nginx version: nginx/1.29.0", "http { keepalive_min_timeout 5s; }", False),
        ("nginx version: nginx/1.29.0", "http { server { keepalive_min_timeout 5s; } }", False),
        ("nginx version: nginx/1.27.3", "http { }", False),
        ("nginx version: nginx/1.26.3", "http { }", False),
        ("", "http { }", False),
    ],
)
def test_gentler_reloads_are_suggested_where_nginx_knows_them(printed: str, config: str, suggested: bool) -> None:
    note = notes.missing_min_timeout("travel-nginx-1", notes.version_of(printed), parse(config))
    assert bool(note) == suggested
    assert not note or "keepalive_min_timeout 5s;" in note


def test_the_note_says_what_to_do() -> None:
    note = notes.unguarded("travel", "travel-nginx-1", ["api", "web"])
    assert "api and web" in note and "install the guard of travel: ansible-playbook evenkeel.deploy.guard (" in note
