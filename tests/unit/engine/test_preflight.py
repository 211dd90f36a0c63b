# SPDX-License-Identifier: GPL-3.0-or-later
"""Room and versions: what is refused, with which numbers."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.preflight import (
    DISK_NEEDED,
    INODES_NEEDED,
    MEBIBYTE,
    MEMORY_MARGIN,
    Extra,
    Room,
    shortages,
    too_old,
    version_of,
)

ROOMY = Room(2048 * MEBIBYTE, 1024 * MEBIBYTE, 10**10, 10**6, "/var/lib/docker")


def room(**changes: int) -> Room:
    return Room(**{**ROOMY.__dict__, **changes})


def extra(count: int = 1, used: int = 0, reserved: int = 0, service: str = "api") -> Extra:
    return Extra(service, count, used * MEBIBYTE, reserved * MEBIBYTE)


def test_memory_fits_to_the_byte() -> None:
    exact = 300 * MEBIBYTE + MEMORY_MARGIN
    assert shortages(room(memory_available=exact), [extra(2, used=100), extra(1, reserved=100)]) == []
    found = shortages(room(memory_available=exact - 1), [extra(2, used=100), extra(1, reserved=100, service="celery")])
    assert len(found) == 1
    for words in (
        "needs 300 MiB more (2 x api at 100 MiB, 1 x celery at 100 MiB)",
        "64 MiB to spare",
        "364 MiB are available",
    ):
        assert words in found[0]


def test_the_larger_of_use_and_reservation_counts() -> None:
    tight = room(memory_available=200 * MEBIBYTE)
    assert shortages(tight, [extra(used=100, reserved=50)]) == []
    assert shortages(tight, [extra(used=150, reserved=50)])
    assert shortages(tight, [extra(used=50, reserved=150)])


def test_a_reservation_beyond_the_machine_is_said_alone() -> None:
    found = shortages(ROOMY, [extra(reserved=4096)])
    assert found == [
        "api: reserves 4,096 MiB of memory, the machine has 2,048 MiB; lower deploy.resources.reservations.memory"
    ]


def test_what_is_not_started_needs_nothing() -> None:
    assert shortages(room(memory_available=0), [extra(0, used=500, reserved=9999)]) == []
    assert shortages(room(memory_available=0), []) == []


def test_disk_and_inodes() -> None:
    assert shortages(room(disk_free=DISK_NEEDED), []) == []
    (found,) = shortages(room(disk_free=DISK_NEEDED - MEBIBYTE), [])
    assert found.startswith("disk: 255 MiB are free at /var/lib/docker, 256 MiB are needed")
    (found,) = shortages(room(inodes_free=INODES_NEEDED - 1), [])
    assert found == "disk: only 999 inodes are free at /var/lib/docker, 1000 are needed"
    # btrfs has no number of inodes and says 0.
    assert shortages(room(inodes_free=0), []) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2.26.1-4", (2, 26, 1)),
        ("v2.24.0", (2, 24, 0)),
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("2.24", (2, 24)),
        ("5.0.0-rc.1", (5, 0, 0)),
        ("dev", ()),
        ("", ()),
    ],
)
def test_versions(text: str, numbers: tuple[int, ...]) -> None:
    assert version_of(text) == numbers


@pytest.mark.parametrize("good", ["2.24.0", "v2.24", "2.26.1-4", "10.0", "3.0.0"])
def test_new_enough(good: str) -> None:
    assert too_old("Docker Compose", good, (2, 24)) == []


@pytest.mark.parametrize(
    ("old", "shown"), [("2.23.9", "2.23.9"), ("1.29.2", "1.29.2"), ("", "(no version)"), ("x", "x")]
)
def test_too_old(old: str, shown: str) -> None:
    assert too_old("Docker Compose", old, (2, 24)) == [f"Docker Compose {shown} is too old, 2.24 or newer is needed"]
