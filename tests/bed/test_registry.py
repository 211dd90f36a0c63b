# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that CI built: pulled from a real registry with a login before anything is touched, and never without need."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.repository import add_commit
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.registry import Registry
from tests.bed.shop import LABEL, ROOT, WORKER, Shop, run, succeeded

COMPOSE = "docker-compose.prod.yml"
BUILD = "  build:\n    context: .\n    labels: *labels\n"
PASSWORD = "word-Of-This-Registry-0815"
REPOSITORY = "travel/api"


class FromCi(Shop):
    """The shop with images that CI has pushed, and no ``build:`` at all."""

    def __init__(self) -> None:
        super().__init__(f"registry-{WORKER}")
        self.registry = Registry(self.name, "ci", PASSWORD)

    def login(self, **login: str) -> None:
        """Write what the server logs in with; in the inventory, as argv is no place for it."""
        self.variables["app_registry"] = {"url": self.registry.host, "username": "ci", **login}
        self.write_inventory()

    def release(self, tag: str, version: str, image: str) -> None:
        """Tag a version whose services run an image by this name."""
        text = (ROOT / "demo/shop" / COMPOSE).read_text(encoding="utf-8")
        assert text.count(BUILD) == 1
        add_commit(self.repository, {COMPOSE: text.replace(BUILD, f"  image: {image}\n")}, tag, version)

    def push(self, version: str, tag: str) -> str:
        """Have CI build a version and push it; returns its digest."""
        tree = self.folder / f"tree-{version}"
        if not tree.exists():
            run(["git", "clone", "--quiet", "--branch", version, str(self.repository), str(tree)])
        return self.registry.push(tree, REPOSITORY, tag, {LABEL: self.name})

    def name_of(self, tag: str) -> str:
        return f"{self.registry.host}/{REPOSITORY}:{tag}"


@pytest.fixture(scope="module")
def shop() -> Iterator[FromCi]:
    made = FromCi()
    made.destroy()
    try:
        made.create()
        made.registry.start()
        made.push("v1", "one")
        digest = made.push("v2", "two")
        made.release("ci-1", "v1", made.name_of("one"))
        made.release("ci-2", "v2", f"{made.registry.host}/{REPOSITORY}@{digest}")
        made.release("ci-lost", "v2", made.name_of("nobody-pushed-it"))
        yield made
    finally:
        made.destroy()


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Command lines and environments of this machine's processes that have the password in them."""
    found: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                except OSError:
                    continue
                if PASSWORD in text and "htpasswd" not in text:
                    found.add(text[:300])
            time.sleep(0.02)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def test_a_wrong_password_is_refused_before_anything_is_there(shop: FromCi) -> None:
    shop.login(password="wrong-word-0815")
    play = shop.update("ci-1")
    assert play.returncode == 2, play.output[-4000:]
    for words in (f"the image {shop.name_of('one')} of api", "cannot be pulled:", "Now: nothing was touched",
                  f"correct username and password of app_registry, which {shop.registry.host} refuses"):  # fmt: skip
        assert words in play.flat_message, play.output[-4000:]
    assert "wrong-word" not in play.output and shop.containers() == {}


def test_what_is_not_there_is_pulled_and_the_password_is_nowhere(shop: FromCi) -> None:
    shop.login(password=PASSWORD)
    with command_lines() as seen:
        play = succeeded(shop.update("ci-1", "-vvv", "--diff"))
    assert shop.version() == "v1" and f"pulled: {shop.name_of('one')}" in play.flat, play.flat[-4000:]
    assert seen == set() and PASSWORD not in play.output
    # Docker's own file has it in base64.
    words = (PASSWORD, base64.b64encode(f"ci:{PASSWORD}".encode()).decode())
    for folder in (shop.root, Path.home() / ".docker"):
        for path in (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            text = path.read_bytes()
            assert not any(word.encode() in text for word in words), path


def test_a_second_run_changes_nothing_and_asks_nobody(shop: FromCi) -> None:
    before = shop.registry.asked()
    assert before > 0
    again = succeeded(shop.update("ci-1"))
    assert (again.changed, shop.registry.asked()) == (0, before), again.output[-4000:]


def test_a_registry_that_does_not_answer_or_has_no_such_image_touches_nothing(shop: FromCi) -> None:
    before = shop.containers()
    lost = shop.update("ci-lost")
    assert lost.returncode == 2 and f"push it to {shop.registry.host}" in lost.flat_message, lost.output[-4000:]
    shop.registry.stop()
    try:
        play = shop.update("ci-2")
    finally:
        shop.registry.again()
    assert play.returncode == 2, play.output[-4000:]
    for words in (
        "connection refused",
        "Now: nothing was touched",
        f"see that this server reaches {shop.registry.host}",
    ):
        assert words in play.flat_message, play.output[-4000:]
    assert (shop.version(), shop.containers()) == ("v1", before)


def test_check_mode_says_what_would_be_pulled_and_asks_nobody(shop: FromCi) -> None:
    # The update that was refused has made the release; of one that is not there yet nobody knows what it needs.
    before = shop.registry.asked()
    play = succeeded(shop.update("ci-2", "--check"))
    assert "would be pulled: " in play.flat and f"/{REPOSITORY}@sha256:" in play.flat, play.flat[-4000:]
    assert shop.registry.asked() == before


def test_a_digest_is_pulled_with_a_password_file_under_load_and_gone_back_from_without_a_registry(
    shop: FromCi, tmp_path: Path
) -> None:
    word = tmp_path / "word"
    word.write_text(f"{PASSWORD}\n")
    shop.login(password_file=str(word))
    with shop.load() as load:
        succeeded(shop.update("ci-2"))
        assert shop.version() == "v2"
        shop.registry.stop()
        try:
            succeeded(shop.rollback())
        finally:
            shop.registry.again()
        result = load.stop()
    assert shop.version() == "v1" and set(result.versions) == {"v1", "v2"}
    assert_nothing_lost(shop, load, result)


def test_a_tag_that_moves_is_pulled_again_by_update_rebuild_alone(shop: FromCi) -> None:
    latest = shop.name_of("latest")
    shop.registry.move(REPOSITORY, "latest", "one")
    shop.release("ci-latest", "v1", latest)
    succeeded(shop.update("ci-latest"))
    shop.registry.move(REPOSITORY, "latest", "two")
    before = shop.registry.asked()
    again = succeeded(shop.update("ci-latest"))
    assert (again.changed, shop.version(), shop.registry.asked()) == (0, "v1", before), again.output[-4000:]
    play = succeeded(shop.update("ci-latest", update_rebuild=True))
    assert shop.version() == "v2" and shop.registry.asked() > before
    assert f"pulled: {latest}" in play.flat and f"{latest} is a tag that moves" in play.flat, play.flat[-4000:]
