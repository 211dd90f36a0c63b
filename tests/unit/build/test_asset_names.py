# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a built site when some of its files change."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.build import asset_names
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.asset_names import BadChange, Changes, hash_in

SITE = {
    "index.html": b'<script src="/assets/app-1a2b3c4d.js"></script><link href="/assets/look-9f8e7d6c.css">',
    "about.html": b"nothing",
    "assets/app-1a2b3c4d.js": b'import("./tour-5e6f7a8b.js"); //# sourceMappingURL=app-1a2b3c4d.js.map',
    "assets/app-1a2b3c4d.js.map": b"{}",
    "assets/tour-5e6f7a8b.js": b'import "./app-1a2b3c4d.js"; fetch("/api/")',
    "assets/look-9f8e7d6c.css": b"body{}",
    "assets/gone-0a0a0a0a.js": b'import "./tour-5e6f7a8b.js"',
}

SRI = base64.b64encode(hashlib.sha384(SITE["assets/app-1a2b3c4d.js"]).digest())


def change(site: dict[str, bytes], **files: bytes) -> Changes:
    return asset_names.changed(files, site, site.__getitem__)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/app-1a2b3c4d.js", "1a2b3c4d"), ("main.0123456789abcdef.chunk.js", "0123456789abcdef"), ("index-DiwrgTda.js", "DiwrgTda"),
     ("my-component-1a2b3c4d.js", "1a2b3c4d"), ("index-Di-rgTd2.js", "Di-rgTd2"), ("tour-20240101.html", ""),
     ("bootstrap-responsive.css", ""), ("index.html", ""), ("jquery-3.7.1.min.js", ""), ("app.js", "")],
)  # fmt: skip
def test_a_hash_is_told_from_a_word(name: str, expected: str) -> None:
    assert hash_in(name) == expected


def test_what_changes_gets_another_name_up_to_the_pages_and_the_old_stays() -> None:
    told = change(SITE, **{"assets/tour-5e6f7a8b.js": b"new"})
    assert set(told.renamed) == {"assets/tour-5e6f7a8b.js", "assets/app-1a2b3c4d.js"}
    # Nobody's chunk of an earlier build is left as it is, and nothing that is there is written over but the page.
    assert set(told.writes) == {*told.renamed.values(), "index.html"}
    app, tour = (told.renamed[f"assets/{n}"] for n in ("app-1a2b3c4d.js", "tour-5e6f7a8b.js"))
    assert told.writes[tour] == b"new" and tour.split("/")[1].encode() in told.writes[app]
    assert app.split("/")[1].encode() in told.writes["index.html"] and b"look-9f8e7d6c.css" in told.writes["index.html"]
    assert b"sourceMappingURL=app-1a2b3c4d.js.map" in told.writes[app]
    assert len(hash_in(tour)) == 8 and told == change(SITE, **{"assets/tour-5e6f7a8b.js": b"new"})


def test_two_that_name_each_other_and_a_page_that_is_given_as_well() -> None:
    page = SITE["index.html"] + b"<p>new</p>"
    told = change(SITE, **{"assets/app-1a2b3c4d.js": b'import("./tour-5e6f7a8b.js")', "index.html": page})
    app, tour = (told.renamed[f"assets/{n}"].split("/")[1].encode() for n in ("app-1a2b3c4d.js", "tour-5e6f7a8b.js"))
    assert app in told.writes[f"assets/{tour.decode()}"] and tour in told.writes[f"assets/{app.decode()}"]
    assert told.writes["index.html"].endswith(b"<p>new</p>") and app in told.writes["index.html"]


def test_a_page_and_a_new_asset_are_written_as_they_are() -> None:
    told = change(SITE, **{"about.html": b"other", "assets/new-77777777.js": b"x"})
    assert (dict(told.writes), dict(told.renamed)) == ({"about.html": b"other", "assets/new-77777777.js": b"x"}, {})
    assert change(SITE, **{"about.html": b"nothing"}).writes == {}
    assert "browsers may keep" in " ".join(change({**SITE, "app.js": b"1"}, **{"app.js": b"2"}).notes)
    assert "service worker" in " ".join(change({**SITE, "sw.js": b"1"}, **{"about.html": b"2"}).notes)


def test_the_checksum_of_another_file_stops_nobody_and_neither_does_a_word() -> None:
    page = b'<script src="https://cdn/x.js" integrity="sha384-%s"></script>' % base64.b64encode(b"x" * 48)
    told = change({**SITE, "index.html": SITE["index.html"] + page}, **{"assets/tour-5e6f7a8b.js": b"new; integrity"})
    assert page in told.writes["index.html"]


def test_a_page_that_says_the_new_checksum_is_taken() -> None:
    new = b"new"
    page = b'<script src="/assets/app-1a2b3c4d.js" integrity="sha256-%s">' % base64.b64encode(
        hashlib.sha256(new).digest()
    )
    told = change(SITE, **{"assets/app-1a2b3c4d.js": new, "index.html": page})
    assert base64.b64encode(hashlib.sha256(new).digest()) in told.writes["index.html"]


def test_slashes_that_are_escaped_belong_to_no_name() -> None:
    page = b'"assets\\u002Fapp-1a2b3c4d.js" "assets%2Fapp-1a2b3c4d.js"'
    told = change({**SITE, "index.html": page}, **{"assets/app-1a2b3c4d.js": b"new"})
    fresh = told.renamed["assets/app-1a2b3c4d.js"].split("/")[1].encode()
    assert told.writes["index.html"] == page.replace(b"app-1a2b3c4d.js", fresh)


def test_an_empty_text_may_be_new() -> None:
    assert change(SITE, **{"robots.txt": b"", "about.html": b""}).writes == {"robots.txt": b"", "about.html": b""}


@pytest.mark.parametrize(
    ("more", "files", "expected"),
    [
        ({}, {"assets/gone-0a0a0a0a.js": b"x"}, "no page names"),
        ({"index.html": b'1a2b3c4d + ".js"'}, {"assets/app-1a2b3c4d.js": b"x"}, "no page names"),
        ({"assets/app-1a2b3c4d.js.gz": b"x"}, {"assets/app-1a2b3c4d.js.gz": b"y"}, "compressed form"),
        (
            {"index.html": b'<script integrity="sha384-%s" src="app-1a2b3c4d.js">' % SRI},
            {"assets/app-1a2b3c4d.js": b"x"},
            "index.html says what bytes assets/app-1a2b3c4d.js has",
        ),
        (
            {"sw.js": b'[{url:"about.html",revision:"%s"}]' % hashlib.md5(b"nothing").hexdigest().encode()},
            {"about.html": b"x"},
            "sw.js says what bytes about.html has",
        ),
        ({"en/app-1a2b3c4d.js": b"e"}, {"assets/app-1a2b3c4d.js": b"x"}, "have one name|has one name|one name"),
    ],
)
def test_refused(more: dict[str, bytes], files: dict[str, bytes], expected: str) -> None:
    with pytest.raises(BadChange, match=expected):
        change({**SITE, **more}, **files)


NAMES = [f"a{n}-{n}1b2c3d4e.js" for n in range(5)]


@given(st.lists(st.sets(st.sampled_from(NAMES)), min_size=5, max_size=5), st.sets(st.sampled_from(NAMES), min_size=1))
def test_no_hashed_name_ever_gets_other_bytes_and_all_pages_lead_to_is_there(
    refs: list[set[str]], given_names: set[str]
) -> None:
    site = {n: (" ".join(sorted(r)) + " old").encode() for n, r in zip(NAMES, refs)}
    site["index.html"] = " ".join(NAMES[:2]).encode()
    try:
        told = change(site, **{n: site[n] + b" new" for n in given_names})
    except BadChange:
        return
    after = {**site, **told.writes}
    assert all(after[n] == site[n] for n in NAMES)
    seen, waiting = set(), ["index.html"]
    while waiting:
        for name in after[waiting.pop()].decode().split():
            if name.endswith(".js") and name not in seen:
                seen.add(name)
                waiting.append(name)
    assert seen <= set(after)
    # What is new is reached, and what it replaces is not.
    assert not seen & set(told.renamed) and set(told.renamed.values()) <= seen and given_names <= set(told.renamed)
