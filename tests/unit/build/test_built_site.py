# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job built, held against the build before: whole sites pass, broken ones are told by what is wrong with them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.build.built_site import (
    Build,
    is_surely_hashed,
    named_in,
    problems,
)

PAGE = '<!doctype html><link rel=stylesheet href="/app/assets/a.css?v=1"><script src="assets/app-%s.js"></script>'
OLD, NEW = PAGE % "0a1b2c3d4e5f", PAGE % "5f4e3d2c1b0a"
BEFORE = {"index.html": 100, "assets/a.css": 500, "assets/app-0a1b2c3d4e5f.js": 4000}
GOOD = Build(
    {"index.html": 100, "assets/a.css": 500, "assets/app-5f4e3d2c1b0a.js": 3900}, BEFORE,
    {"index.html": NEW}, {"index.html": OLD}, tuple(BEFORE), ("index.html",),
)  # fmt: skip


def without(build: Build, path: str) -> Build:
    return replace(build, sizes={p: n for p, n in build.sizes.items() if p != path})


def test_a_small_change_of_a_whole_site_passes() -> None:
    assert problems(GOOD) == [] and problems(replace(GOOD, before={}, pages_before={}, live=())) == []


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (replace(without(GOOD, "index.html"), pages={}), "index.html: was in the build before"),
        (replace(GOOD, pages={"index.html": " \n"}), "index.html: is empty"),
        (without(GOOD, "assets/app-5f4e3d2c1b0a.js"), "index.html names assets/app-5f4e3d2c1b0a.js, which is not there"),
        (replace(GOOD, sizes={**GOOD.sizes, "assets/app-5f4e3d2c1b0a.js": 10}), "610 bytes, less than half of the 4 KiB"),
        (replace(GOOD, before={**BEFORE, **{f"i/{n}.svg": 1 for n in range(9)}}), "3 files, less than half of the 12"),
        (replace(GOOD, pages={"index.html": "<!doctype html>"}), "index.html loads no file of the site any more"),
        (replace(GOOD, replaced=["assets/app-5f4e3d2c1b0a.js"]), "other bytes under the same hash"),
        (replace(GOOD, fresh=False), "nothing of it is another"),
    ],
)  # fmt: skip
def test_what_is_broken_is_told(build: Build, said: str) -> None:
    assert [p for p in problems(build) if said in p], problems(build)


def test_what_was_so_before_or_is_of_others_stops_nothing() -> None:
    missing = '<img src="gone.png">'
    before = replace(GOOD, pages={"index.html": NEW + missing}, pages_before={"index.html": OLD + missing})
    assert problems(before) == []
    others = '<link href="/static/admin/base.css"><script src="https://x.y/z.js"></script><img src="data:image/png;base64,x">'
    assert problems(replace(GOOD, pages={"index.html": NEW + others})) == []
    assert "assets/x.js" in problems(replace(GOOD, pages={"index.html": NEW + "<script src=/app/assets/x.js>"}))[0]
    # What an earlier build left is served as well.
    assert problems(replace(GOOD, pages={"index.html": OLD + NEW})) == []
    assert problems(replace(GOOD, replaced=["robots.txt", "assets/app-5f4e3d2c1b0a.js.gz", "a-0a1b2c3d.js.map"])) == []
    # Maps and compressed forms are not what a site weighs.
    assert problems(replace(GOOD, before={**BEFORE, "assets/app.js.map": 10**6, "assets/a.css.gz": 10**6})) == []


def test_references_are_read_as_browsers_do() -> None:
    text = """<a href=page.html><script src='./a.js?x=1#y'></script><img data-src="no.png" SRC = "b%20c.png">
      <link href="//cdn.x/y.css"><script src="{{ url }}.js"></script><use href="#icon">"""
    assert named_in(text) == {"./a.js?x=1#y", "b%20c.png"}
    page = Build({"de/index.html": 1, "a.js": 1, "de/b c.png": 1}, pages={"de/index.html": text})
    assert problems(page) == []


@pytest.mark.parametrize(
    ("name", "hashed"),
    [("assets/app-0a1b2c3d4e5f.js", True), ("chunk.B3xK9_ab.js", True), ("main.2f4e9a1b.chunk.js", True),
     ("lib-bootstrap5.js", False), ("font-awesome-6.min.css", False), ("index.html", False), ("app-20261121.js", False),
     ("assets/app-0a1b2c3d4e5f.js.gz", False)],
)  # fmt: skip
def test_a_word_with_a_digit_is_no_hash(name: str, hashed: bool) -> None:
    assert is_surely_hashed(name) is hashed


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3000), min_size=1), st.integers(0, 7))
def test_a_site_that_names_what_it_has_passes_and_one_that_lost_a_file_does_not(
    parts: dict[str, int], lost: int
) -> None:
    names = [f"assets/{p}-{hashlib.sha256(p.encode()).hexdigest()[:12]}.js" for p in sorted(parts)]
    text = "".join(f'<script src="{n}"></script>' for n in names)
    whole = Build({"index.html": len(text), **dict(zip(names, parts.values()))}, pages={"index.html": text})
    assert problems(whole) == []
    gone = names[lost % len(names)]
    assert gone in " ".join(problems(without(whole, gone)))
