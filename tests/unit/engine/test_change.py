# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys of a service changed: all that did, and never a value."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.change import changed_keys, fingerprint

KEY = b"k" * 64
SERVICE: dict[str, Any] = {
    "image": "shop:1",
    "command": ["gunicorn", "--token", "s3cr3t-token"],
    "environment": {"DATABASE_URL": "postgres://u:hunter2@db/x", "DEBUG": "0", "PIN": "1234", "EMPTY": None},
    "labels": {"a.b": "c"},
    "deploy": {"replicas": 2, "update_config": {"order": "start-first"}},
    "networks": {"default": None},
}
NAMES = st.sampled_from(["image", "command", "environment", "labels", "A", "B", "x.y"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text("ab1 .$", max_size=4),
    st.lists(st.text("ab", max_size=3), max_size=2),
)
SERVICES = st.dictionaries(NAMES, st.one_of(LEAVES, st.dictionaries(NAMES, LEAVES, max_size=3)), max_size=5)


def test_no_value_is_in_it() -> None:
    text = json.dumps(fingerprint(SERVICE, KEY))
    for value in ("hunter2", "s3cr3t", "1234", "shop:1", "start-first"):
        assert value not in text
    assert "environment.DATABASE_URL" in text


def test_no_value_can_be_tried_out_without_the_key() -> None:
    hashes = set(fingerprint(SERVICE, KEY).values())
    for guess in ("1234", '"1234"', "0", '"0"'):
        for method in (hashlib.sha256, hashlib.sha1, hashlib.md5):
            assert not any(method(guess.encode()).hexdigest().startswith(h) for h in hashes)
    assert not hashes & set(fingerprint(SERVICE, b"another key").values())


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("image",), "shop:2", ["image"]),
        (("environment", "DEBUG"), "1", ["environment.DEBUG"]),
        (("environment", "EMPTY"), "", ["environment.EMPTY"]),
        (("environment", "NEW"), "x", ["+environment.NEW"]),
        (("command",), ["gunicorn"], ["command"]),
        (("deploy", "update_config", "order"), "stop-first", ["deploy.update_config.order"]),
        (("labels",), {}, ["+labels", "-labels.a.b"]),
        (("read_only",), True, ["+read_only"]),
        # Not part of a container: Compose leaves these out of its hash as well.
        (("deploy", "replicas"), 5, []),
        (("scale",), 5, []),
        (("build",), {"context": "."}, []),
        (("depends_on",), {"db": {}}, []),
        (("profiles",), ["x"], []),
        (("pull_policy",), "always", []),
        (("x-evenkeel",), {"kind": "web"}, []),
    ],
)
def test_the_keys_that_changed(path: tuple[str, ...], value: Any, expected: list[str]) -> None:
    other = copy.deepcopy(SERVICE)
    inner = other
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    before, after = fingerprint(SERVICE, KEY), fingerprint(other, KEY)
    assert changed_keys(before, after) == expected
    swap = {"+": "-", "-": "+"}
    back = [swap.get(p[0], p[0]) + p[1:] for p in expected]
    assert sorted(changed_keys(after, before)) == sorted(back)


def test_the_order_of_keys_is_no_change() -> None:
    turned = {k: SERVICE[k] for k in reversed(SERVICE)}
    assert changed_keys(fingerprint(SERVICE, KEY), fingerprint(turned, KEY)) == []


@given(SERVICES, SERVICES)
def test_changed_exactly_where_something_differs(one: dict[str, Any], two: dict[str, Any]) -> None:
    before, after = fingerprint(one, KEY), fingerprint(two, KEY)
    assert (changed_keys(before, after) == []) == (before == after)
    assert changed_keys(before, before) == []
    assert {k.lstrip("+-") for k in changed_keys(before, after)} <= set(before) | set(after)
