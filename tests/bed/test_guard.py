# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard beside a real nginx: what it heals and how fast, when it keeps still, and what it costs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.host.info import guard_info
from tests.bed.front import docker
from tests.bed.guarded import NAME, Guarded
from tests.bed.ports import free_port
from tests.bed.shop import BEDS


@pytest.fixture(scope="module")
def stack() -> Iterator[Guarded]:
    """One nginx, three services."""
    made = Guarded(BEDS / "guard", free_port())
    made.destroy()
    try:
        made.create()
        yield made
    finally:
        made.destroy()


@pytest.fixture
def guarded(stack: Guarded) -> Iterator[Guarded]:
    """The same with a guard; nothing that it logs may quote the configuration."""
    stack.guard.begin()
    yield stack
    stack.guard.end()
    assert "hunter2" not in stack.said()


def heals(stack: Guarded, path: str, who: str, patience: float = 20) -> float:
    seconds = stack.heals(path, who, patience)
    assert seconds is not None, stack.said()
    return seconds


def settle(stack: Guarded) -> None:
    """Let nginx know everything, whatever a test before has left, and the guard see that it does."""
    time.sleep(2.5)
    docker("exec", stack.container("nginx"), "nginx", "-s", "reload")
    heals(stack, "/", "api")
    heals(stack, "/web/", "web")
    heals(stack, "/shelf/", "shelf")
    # Of a reload nobody tells: it is seen with the next event on nginx's network.
    network = f"{NAME}_default"
    docker("run", "--rm", "--label", f"evenkeel.bed={NAME}", "--network", network, "evenkeel/python:3.13", "true")
    time.sleep(1.5)


def test_without_a_guard_it_stays_broken_and_one_that_starts_heals_it(stack: Guarded) -> None:
    stack.move("api")
    assert stack.heals("/", "api", 12) is None
    told = guard_info(NAME)
    assert told["needed"] and not told["running"] and "ansible-playbook evenkeel.deploy.guard" in told["notes"][0], told
    began = time.monotonic()
    stack.guard.begin()
    heals(stack, "/", "api")
    print(f"\nevidence: without a guard: not healed after 12 s; with it started then: {time.monotonic() - began:.1f} s")
    told = guard_info(NAME)
    assert told["needed"] and told["running"] and told["notes"] == [], told
    assert stack.guard.end() == 0


def test_a_changed_address_heals_within_seconds(guarded: Guarded) -> None:
    settle(guarded)
    took = []
    for service, path in (("api", "/"), ("web", "/web/")):
        _before, after = guarded.move(service)
        took.append(heals(guarded, path, service))
        # It says what it did once nginx has it.
        told = f"{service} is at {after} now"
        assert guarded.until(lambda told=told: told in guarded.said(), 10), guarded.said()
    print(f"\nevidence: healed after {', '.join(f'{s:.1f}' for s in took)} s since the container listened")
    assert guarded.until(lambda: guarded.reloads() >= 2, 10) and guarded.reloads() == 2, guarded.said()


def test_a_file_of_addresses_follows_too(guarded: Guarded) -> None:
    settle(guarded)
    _before, after = guarded.move("shelf")
    print(f"\nevidence: by a file of addresses: healed after {heals(guarded, '/shelf/', 'shelf'):.1f} s")
    assert f"server {after}:8000;" in (guarded.folder / "addresses/evenkeel-guard-shelf.conf").read_text()


def test_nothing_is_done_where_nothing_moved(guarded: Guarded) -> None:
    settle(guarded)
    workers, reloads = guarded.workers(), guarded.reloads()
    docker("restart", guarded.container("api"))
    heals(guarded, "/", "api")
    time.sleep(4)
    assert guarded.workers() == workers
    assert guarded.reloads() == reloads


def test_a_crash_loop_is_one_reload(guarded: Guarded) -> None:
    settle(guarded)
    reloads, restarts = guarded.reloads(), guarded.restarts("api")
    guarded.loop("api", 1.8)
    try:
        guarded.move("api")
        assert guarded.until(lambda: guarded.restarts("api") >= restarts + 5, 45)
    finally:
        guarded.loop("api", 0)
    heals(guarded, "/", "api", 30)
    time.sleep(2)
    count = guarded.restarts("api") - restarts
    print(f"\nevidence: {count} restarts, {guarded.reloads() - reloads} reload")
    assert guarded.reloads() == reloads + 1, guarded.said()


def test_after_a_restart_of_nginx_it_guards_on(guarded: Guarded) -> None:
    docker("restart", guarded.container("nginx"))
    heals(guarded, "/", "api")
    guarded.move("api")
    heals(guarded, "/", "api")


def test_a_killed_guard_that_is_started_again_finds_what_it_missed(guarded: Guarded) -> None:
    settle(guarded)
    assert guarded.guard.end(signal.SIGKILL) == -signal.SIGKILL
    guarded.move("web")
    guarded.guard.begin()
    heals(guarded, "/web/", "web")


def test_what_nginx_refuses_is_said_once(guarded: Guarded) -> None:
    settle(guarded)
    site = guarded.folder / "site.conf"
    good = site.read_text(encoding="utf-8")
    site.write_text(good + "lissten hunter2;\n", encoding="utf-8")
    try:
        workers = guarded.workers()
        guarded.move("api")
        assert guarded.until(lambda: "refuses" in guarded.said(), 15), guarded.said()
        docker("restart", guarded.container("web"))
        time.sleep(5)
        assert guarded.workers() == workers
        assert guarded.said().count("refuses") == 1, guarded.said()
    finally:
        site.write_text(good, encoding="utf-8")
    # Nothing tells that a file was corrected: it tries again by itself, later and later.
    heals(guarded, "/", "api", 30)


def test_while_somebody_works_it_keeps_still_but_not_when_the_address_is_dead(guarded: Guarded) -> None:
    settle(guarded)
    holder = guarded.hold_lock()
    try:
        workers = guarded.workers()
        # A second one beside it: unknown to nginx, and not its business as long as the first one lives.
        docker(
            "run", "--detach", "--name", "evenkeel-guard-second", "--label", "evenkeel.bed=evenkeel-guard",
            "--network", "evenkeel-guard_default", "--network-alias", "api", "--env", "WHO=api",
            "evenkeel/python:3.13", "python", "-m", "http.server", "8000",
        )  # fmt: skip
        time.sleep(6)
        assert guarded.workers() == workers, guarded.said()
        docker("rm", "--force", "evenkeel-guard-second")
        guarded.move("api")
        took = heals(guarded, "/", "api")
        print(f"\nevidence: healed under a live lock after {took:.1f} s")
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.wait()
        docker("rm", "--force", "evenkeel-guard-second")


def test_the_stale_pin_of_a_killed_roll_is_put_right(guarded: Guarded) -> None:
    settle(guarded)
    name = guarded.container("nginx")
    line = f"{guarded.address(guarded.container('api'))}\\tapi\\t# evenkeel api {time.time():.3f}"
    docker("exec", name, "sh", "-c", f"printf '{line}\\n' >> /etc/hosts")
    docker("exec", name, "nginx", "-s", "reload")
    heals(guarded, "/", "api")
    guarded.move("api")
    heals(guarded, "/", "api")
    assert guarded.until(lambda: "was put right" in guarded.said(), 10), guarded.said()
    assert "# evenkeel" not in docker("exec", name, "cat", "/etc/hosts")


def test_nothing_to_do_costs_nothing(guarded: Guarded) -> None:
    """With health checks every two seconds, whose events are none of its business."""
    settle(guarded)
    time.sleep(5)
    before, began = guarded.cpu(), time.monotonic()
    time.sleep(60)
    used, passed = guarded.cpu() - before, time.monotonic() - began
    week = used / passed * 7 * 86400
    print(
        f"\nevidence: {used:.2f} s of CPU in {passed:.0f} s idle: {week:.0f} s in a week; memory {guarded.memory()} KiB"
    )
    # Not how fast: that it waits, and does not ask in a loop.
    assert used < passed / 20
    assert guarded.memory()["RssAnon"] < 40 * 1024
