# SPDX-License-Identifier: GPL-3.0-or-later
"""Behind whatever configuration of nginx: nobody, users nor other containers, meets a version that is not proven."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.inspection import moment_of
from tests.bed.fronts import FRONTS, fronted
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import LABEL, Shop, run

#: What a neighbour in the project's network does: it calls the service by its name, each time on a new connection.
CALLER = """
import json, time, urllib.request
request = urllib.request.Request("http://api:8000/health/", headers={"Host": "shop.localhost"})
end = time.monotonic() + 240
while time.monotonic() < end:
    at = time.time()
    try:
        said = json.load(urllib.request.urlopen(request, timeout=5))["version"]
    except Exception as error:
        said = f"! {type(error).__name__}: {error}"
    print(json.dumps([at, said]), flush=True)
    time.sleep(0.05)
"""


@contextmanager
def neighbour(shop: Shop) -> Iterator[list[tuple[float, str]]]:
    """Call the service from another container; yields what it got: UNIX time and version, or what went wrong."""
    name = f"{shop.name}-neighbour"
    argv = ["docker", "run", "--rm", "--name", name, "--label", f"{LABEL}={shop.name}"]
    argv += ["--network", f"{shop.name}_default", "evenkeel/python:3.13", "python3", "-u", "-c", CALLER]
    caller = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    heard: list[tuple[float, str]] = []

    def listen() -> None:
        for line in caller.stdout or ():
            at, said = json.loads(line)
            heard.append((float(at), str(said)))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)
        caller.wait(30)
        thread.join(10)


@pytest.fixture(scope="module", params=["resolver valid=5s"])
def asked(request: pytest.FixtureRequest) -> Iterator[tuple[Shop, dict[str, str]]]:
    """A shop at v1 behind an nginx that asks for names again; its versions by their plain names."""
    made = Shop("front")
    made.destroy()
    try:
        made.create()
        tags = {tag: fronted(made, tag, FRONTS[request.param]) for tag in ("v1", "v2", "bad-500")}
        first = made.update(tags["v1"])
        assert first.returncode == 0, first.output[-4000:]
        yield made, tags
    finally:
        made.destroy()


def events(shop: Shop, start: str, since: float) -> list[float]:
    """When the journal has an act that starts so (UNIX seconds)."""
    lines = (shop.root / ".evenkeel/journal.jsonl").read_text(encoding="utf-8").splitlines()
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    moments = [moment_of(line["at"]) for line in found if str(line["event"]).startswith(start)]
    return [at for at in moments if at >= since]


def test_an_update_behind_a_name_that_is_asked_for_again(asked: tuple[Shop, dict[str, str]]) -> None:
    shop, tags = asked
    began = time.time()
    with shop.load() as load, neighbour(shop) as heard:
        reloader = threading.Thread(target=reload_in_the_proof, args=(shop, began), daemon=True)
        reloader.start()
        play = shop.update(tags["v2"])
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert (shop.version(), shop.leftovers()) == ("v2", [])
    assert_nothing_lost(shop, load, result)
    reloader.join(1)
    assert not reloader.is_alive(), "nobody reloaded nginx in the middle of the proof"
    assert "rules in its network namespace" in shop.update(tags["v1"], "--check", "--diff", "-v").output
    joined = events(shop, "rotate api", began)[0]
    assert heard, "the neighbour got no answer at all"
    early = [said for at, said in heard if said == "v2" and at < joined - 0.5]
    assert not early, "another container reached the new version before it was proven"
    late = [(at, said) for at, said in heard if said.startswith("!")]
    assert not late, late[:5]
    assert {"v1", "v2"} == {said for _at, said in heard}


def reload_in_the_proof(shop: Shop, since: float) -> None:
    """What certbot does, at the worst moment: the new container runs and is not proven."""
    while not events(shop, "start ", since):
        time.sleep(0.2)
    time.sleep(6)
    run(["docker", "exec", shop.container("nginx"), "nginx", "-s", "reload"])


def test_a_bad_version_behind_it_is_met_by_nobody(asked: tuple[Shop, dict[str, str]]) -> None:
    shop, tags = asked
    serving = shop.version()
    with shop.load() as load, neighbour(shop) as heard:
        play = shop.update(tags["bad-500"])
        result = load.stop()
    assert play.returncode != 0
    assert "answered 500" in play.message.splitlines()[0], play.message
    assert (shop.version(), shop.leftovers()) == (serving, [])
    assert "bad-500" not in result.versions
    assert_nothing_lost(shop, load, result)
    assert {said for _at, said in heard} == {serving}
