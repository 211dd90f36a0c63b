# SPDX-License-Identifier: GPL-3.0-or-later
"""Back from a version whose tasks the older workers do not register: these run before, or are kept; none is discarded."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.repository import add_commit
from tests.bed.killed_playbook import kill_when
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.queued_tasks import all_run_once, runs, send
from tests.bed.shop import ROOT, Play, Shop, run
from tests.bed.shop_releases import QUICK, forward, manifests

# What is decided is held by units and properties, and each of these takes minutes.
NAME = "tours.tasks.print_voucher"
#: A task that only the newer version has, and that does what the one does that each order is confirmed by.
_TASK = """

@shared_task(bind=True)
def print_voucher(self: Task, order_id: int, seconds: float = 0.0) -> None:
    time.sleep(seconds)
    OrderConfirmation.objects.create(order_id=order_id, worker=self.request.hostname, version=settings.VERSION)
"""
#: Well on the way that only we know, and wrong on the one through nginx: found out while users are served by it.
_SERVED = """

def served(request):
    return HttpResponse("served", status=200 if request.META["REMOTE_ADDR"].endswith(".1") else 500)
"""
_VOUCHERS = """
from tours.models import Order, Tour
from tours.tasks import print_voucher
for number in range({count}):
    order = Order.objects.create(tour=Tour.objects.first(), reference=f"{name}-{{number}}", email="bed@example.com")
    print_voucher.apply_async((order.id, {seconds}), countdown={countdown} or None, priority=number % 10)
"""


def commit_newer(shop: Shop) -> None:
    """n2 confirms orders by a task that v2 does not have."""
    tasks = (ROOT / "demo/shop/tours/tasks.py").read_text(encoding="utf-8")
    views = (ROOT / "demo/shop/tours/views.py").read_text(encoding="utf-8")
    assert "tasks.confirm_order.delay" in views
    changed = {
        "shop/version.py": 'VERSION = "n2"\n',
        "tours/tasks.py": tasks + _TASK,
        "tours/views.py": views.replace("tasks.confirm_order.delay", "tasks.print_voucher.delay"),
    }
    add_commit(Path(shop.repository), changed, "n2", "v2")
    urls = (ROOT / "demo/shop/tours/urls.py").read_text(encoding="utf-8")
    spoilt = {
        "shop/version.py": 'VERSION = "n3"\n',
        "tours/views.py": changed["tours/views.py"] + _SERVED,
        "tours/urls.py": urls.replace("urlpatterns = [", 'urlpatterns = [path("served/", views.served),'),
    }
    assert spoilt["tours/urls.py"] != urls
    add_commit(Path(shop.repository), spoilt, "n3", "n2")


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop that went from v2 to n2."""
    made = Shop("newer-tasks", {"app_keep_releases": 6})
    made.destroy()
    try:
        made.create()
        commit_newer(made)
        for version in ("v2", "n2"):
            play = made.update(version, app_services=QUICK)
            assert play.returncode == 0, play.output[-4000:]
        yield made
    finally:
        made.destroy()


@pytest.fixture
def newer(shop: Shop) -> Iterator[Shop]:
    """The same at n2, whatever was before."""
    if shop.version() != "n2":
        play = forward(shop, "n2")
        assert play.returncode == 0, play.output[-4000:]
    yield shop
    # What one that failed leaves in the broker is not the next one's failure.
    aside = in_broker(shop, "keys", "evenkeel-aside*").split()
    in_broker(shop, "del", "unacked", "unacked_index", *aside)


def vouchers(shop: Shop, name: str, count: int, seconds: float = 0.0, countdown: float = 0.0) -> None:
    """Put tasks into the queue that only n2 knows, each for an order of its own, of all priorities."""
    code = _VOUCHERS.format(name=name, count=count, seconds=seconds, countdown=countdown)
    (container,) = [n for n, state in shop.containers("api").items() if state == "running"]
    run(["docker", "exec", container, "python3", "manage.py", "shell", "--verbosity", "0", "-c", code])


def back(shop: Shop, timeout: float) -> Play:
    play = shop.rollback(app_services=QUICK, rollback_to="v2", rollback_tasks_timeout=timeout)
    assert play.returncode == 0, play.output[-5000:]
    return play


def assert_older_serves(shop: Shop) -> None:
    """v2 serves, runs its own tasks, and has thrown nothing away."""
    assert (shop.version(), shop.leftovers()) == ("v2", [])
    logs = run(["sh", "-c", f"docker logs {shop.container('celery')} 2>&1"])
    assert "ready" in logs and "unregistered" not in logs and "discarded" not in logs, logs[-3000:]


def in_broker(shop: Shop, *words: str) -> str:
    return run(["docker", "exec", shop.container("redis"), "redis-cli", *words]).strip()


def test_what_can_be_run_is_run_and_what_cannot_is_kept_and_put_back_going_forward(newer: Shop) -> None:
    shop = newer
    vouchers(shop, "soon", 40, 0.05)
    vouchers(shop, "later", 3, countdown=3600)
    send(shop, "known", 10, 0.05)
    looked = shop.rollback("--check", rollback_to="v2", app_services=QUICK)
    assert looked.returncode == 0 and NAME in looked.output and shop.version() == "n2", looked.output[-3000:]
    play = back(shop, 6)
    assert_older_serves(shop)
    all_run_once(shop, "soon")
    all_run_once(shop, "known")
    kept = re.search(rf"kept aside after (\d+) s, since older workers would discard it: 3 of {NAME}", play.output)
    # They had all the time that they were given.
    assert kept and 6 <= int(kept[1]) <= 12, play.output[-3000:]
    assert set(map(len, runs(shop, "later").values())) == {0}
    assert in_broker(shop, "llen", f"evenkeel-aside:{shop.name}:celery") != "0"
    again = shop.rollback(app_services=QUICK, rollback_to="v2")
    assert (again.returncode, again.changed) == (0, 0), again.output[-3000:]
    ahead = forward(shop, "n2")
    assert f"put back into their queues: 3 of {NAME}" in ahead.output, ahead.output[-3000:]
    assert in_broker(shop, "keys", "evenkeel-aside*") == "" and shop.leftovers() == []
    # Not due yet: fetched by the worker that knows them, and not acknowledged.
    assert in_broker(shop, "hvals", "unacked").count(f'"{NAME}"') == 3
    in_broker(shop, "del", "unacked", "unacked_index")


def test_nothing_is_touched_while_the_broker_is_away(newer: Shop) -> None:
    shop = newer
    before = {i["Id"] for i in shop.inspections()}
    redis = shop.container("redis")
    run(["docker", "stop", "-t", "5", redis])
    try:
        play = shop.rollback(rollback_to="v2", app_services=QUICK)
    finally:
        run(["docker", "start", redis])
    assert play.returncode != 0 and "broker does not answer" in play.message, play.output[-3000:]
    assert {i["Id"] for i in shop.inspections()} == before
    # The shop's own health asks for the broker.
    end = time.monotonic() + 60
    while shop.version() != "n2" and time.monotonic() < end:
        time.sleep(0.5)
    assert shop.version() == "n2"


def test_under_load_no_order_is_left_without_its_task(newer: Shop) -> None:
    shop = newer
    vouchers(shop, "queue", 200, 0.05)
    with shop.load() as load:
        # Those of a low priority come after what users order meanwhile.
        play = back(shop, 240)
        result = load.stop()
    # Nothing was kept from the older workers: the newer ones had time for all of it.
    assert in_broker(shop, "keys", "evenkeel-aside*") == "", play.output[-3000:]
    assert_older_serves(shop)
    assert_nothing_lost(shop, load, result)
    all_run_once(shop, "queue")
    print(f"\nevidence: back from newer tasks under load: {result.total:,} requests, 0 failed, {play.seconds:.1f} s")


def test_going_forward_under_load_no_newer_task_meets_an_older_worker(newer: Shop) -> None:
    shop = newer
    back(shop, 60)
    with shop.load() as load:
        play = forward(shop, "n2")
        result = load.stop()
    assert play.returncode == 0 and shop.version() == "n2", play.output[-4000:]
    assert_nothing_lost(shop, load, result)
    print(f"\nevidence: forward to newer tasks under load: {result.total:,} requests, 0 failed, {play.seconds:.1f} s")


@pytest.mark.parametrize("at", ["Roll back task senders", "Drain tasks unknown", "Roll services to"])
def test_killed_in_the_middle_the_same_command_ends_it(newer: Shop, at: str, tmp_path: Path) -> None:
    shop, name = newer, f"killed-{at.split()[0].lower()}"
    vouchers(shop, name, 5, countdown=300)
    variables = {"rollback_to": "v2", "app_services": QUICK, "rollback_tasks_timeout": 4}
    kill_when(shop, tmp_path / "log", lambda text: at in text, playbook="rollback", **variables)
    play = shop.rollback(app_lock_take_over=True, **variables)
    assert play.returncode == 0, play.output[-5000:]
    assert_older_serves(shop)
    keys = [k for k in in_broker(shop, "keys", f"evenkeel-aside:{shop.name}:*").splitlines() if k]
    assert sum(int(in_broker(shop, "llen", k)) for k in keys) >= 5 and set(map(len, runs(shop, name).values())) == {0}
    assert f"put back into their queues: {5} of {NAME}" in forward(shop, "n2").output
    in_broker(shop, "del", "unacked", "unacked_index")


def test_where_the_newer_worker_is_dead_its_tasks_are_kept(newer: Shop) -> None:
    shop = newer
    worker = shop.container("celery")
    run(["docker", "exec", "-u", "0", worker, "sh", "-c", "echo 'raise SystemExit(3)' > /app/tours/tasks.py"])
    run(["docker", "kill", worker])
    run(["docker", "start", worker])
    vouchers(shop, "dead", 4)
    play = back(shop, 60)
    assert_older_serves(shop)
    assert f"discard it: 4 of {NAME}" in play.output, play.output[-3000:]
    assert f"put back into their queues: 4 of {NAME}" in forward(shop, "n2").output
    all_run_once(shop, "dead")


@pytest.mark.parametrize("where", ["in the roll", "after it"])
def test_an_update_that_is_undone_after_its_web_has_served_loses_no_task(newer: Shop, where: str) -> None:
    """Every order that the newer web took is confirmed by a task that the worker to come back does not have."""
    shop = newer
    (revision,) = {m["revision"] for m in manifests(shop) if m["version"] == "n2"}
    back(shop, 60)
    if where == "after it":
        version, wrong = "n2", {"app_health_url": f"{shop.url}/nowhere/"}
    else:
        # It has the commits of n2, which was gone back from.
        version, wrong = "n3", {"app_verify_paths": [{"path": "/served/"}], "update_allow_bad": revision}
    with shop.load() as load:
        play = forward(shop, version, **wrong)
        result = load.stop()
    assert play.returncode != 0 and ("nowhere" in play.output or "/served/" in play.message), play.output[-3000:]
    assert_older_serves(shop)
    assert_nothing_lost(shop, load, result)
    print(f"\nevidence: undone {where} of newer tasks: {result.total:,} requests, 0 failed, {play.seconds:.1f} s")
