# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a built site's files when some of them change: pure, standard library only, since it runs in containers too.

A browser keeps a file with a hash in its name for ever, so changed bytes get another name, and so does whatever names them, up
to the pages. The old ones stay: a page that was loaded before still asks for them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_HASHED = re.compile(r"(.+[.-])([A-Za-z0-9_-]{8,32})((?:\.[a-z][a-z0-9]{0,8})+)")
_TOKEN = re.compile(r"[A-Za-z0-9_.~@%+-]+")
# A slash as scripts and addresses may write it: it belongs to no name.
_SLASH = re.compile(r"(?:u002f|x2f|%2f)", re.I)
# Asked for by their own names, whatever these look like.
_PAGE = re.compile(r"\.(?:html?|xml|txt|webmanifest)$")
_TEXT = re.compile(r"\.(?:html?|m?js|cjs|css|json|webmanifest|svg|xml|txt)$")
_TWIN = re.compile(r"\.(?:gz|br|zst)$")
_WORKER = re.compile(r"(?:^|/)(?:sw|service-?worker|ngsw-worker|ngsw)\.js(?:on)?$")


class BadChange(ValueError):
    """The files cannot be changed like that; the message is for the user."""


@dataclass(frozen=True)
class Changes:
    """``writes``: path → content; ``renamed``: path that stays → path of its changed copy; ``notes``: what is worth knowing."""

    writes: Mapping[str, bytes] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def hash_in(path: str) -> str:
    """The part of a file's name that is a hash of its content, empty where none is."""
    found = None if is_page(path) else _HASHED.fullmatch(_base(path))
    digest = found.group(2) if found else ""
    mixed = digest.lower() != digest and digest.upper() != digest
    return digest if any(c.isdigit() for c in digest) or mixed else ""


def is_page(path: str) -> bool:
    """Whether people and machines ask for a file by its own name."""
    return bool(_PAGE.search(path))


def is_twin(path: str) -> bool:
    """Whether a file is a compressed one beside the file itself."""
    return bool(_TWIN.search(path))


def is_text(path: str) -> bool:
    """Whether a file may name others."""
    return bool(_TEXT.search(path))


def changed(given: Mapping[str, bytes], names: Iterable[str], read: Callable[[str], bytes]) -> Changes:
    """What is written for these files to be served.

    :param given: path → new content.
    :param names: every file of the site.
    :param read: the content of one of them; only of texts, and of those given.
    :raises BadChange: it would reach nobody, or what names it cannot be rewritten.
    """
    live = sorted(set(names))
    for path in given:
        if is_twin(path):
            raise BadChange(f"{path} is the compressed form of a file: give the file itself, and it is made anew")
    new = {p: c for p, c in given.items() if p not in live or read(p) != c}
    texts = {p: given[p] if p in given else read(p) for p in sorted({*live, *given}) if is_text(p) and not is_twin(p)}
    known = {_base(p) for p in (*live, *given)}
    refs = {p: _named_in(text, known) for p, text in texts.items()}
    due = {p for p in new if p in live and hash_in(p)}
    reached = _reached(texts, refs)
    for path in sorted(due):
        if _base(path) not in reached:
            raise BadChange(
                f"no page names {path} in one piece, so its changed bytes would reach nobody under another name"
            )
    due, others = _all_due(due, refs, reached)
    renames = _renamed(due, texts, new, live)
    by_name = {_base(old): _base(other) for old, other in renames.items()}
    if len(by_name) != len(renames) or any(_base(p) in by_name and p not in renames for p in live):
        raise BadChange(
            f"two files of the site have one name, so nobody can tell which is meant: {', '.join(sorted(by_name))}"
        )
    writes: dict[str, bytes] = {}
    for path in sorted({*new, *due, *others}):
        content = texts.get(path, new.get(path, b""))
        if path in texts and refs[path] & set(by_name):
            content = _rewritten(content, by_name)
        writes[renames.get(path, path)] = content
    _refuse_checksums(given, texts, writes, renames, live, read)
    writes = {p: c for p, c in writes.items() if p not in live or read(p) != c}
    notes = [f"{o} stays, and is served as {_base(n)}" for o, n in sorted(renames.items())]
    plain = sorted(p for p in writes if p in live and not p.endswith((".html", ".htm")))
    if plain:
        notes.append(f"without a hash in their names, so browsers may keep what they have: {', '.join(plain)}")
    if writes and any(_WORKER.search(p) for p in live):
        notes.append("there is a service worker, which may show the pages that it has kept until it fetches them anew")
    return Changes(writes, renames, tuple(notes))


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _named_in(text: bytes, known: set[str]) -> set[str]:
    tokens = set(_TOKEN.findall(text.decode("utf-8", "replace")))
    return {_SLASH.split(token)[-1] for token in tokens} & known


def _rewritten(text: bytes, names: Mapping[str, str]) -> bytes:
    # Whatever the bytes are, they come back as they were.
    plain = text.decode("utf-8", "surrogateescape")
    return _TOKEN.sub(lambda found: _renamed_in(found.group(), names), plain).encode("utf-8", "surrogateescape")


def _renamed_in(token: str, names: Mapping[str, str]) -> str:
    name = _SLASH.split(token)[-1]
    return token[: len(token) - len(name)] + names.get(name, name)


def _checksums(content: bytes) -> set[bytes]:
    """The ways in which a page or a service worker says what bytes a file has."""
    found = set()
    for algorithm in ("md5", "sha1", "sha256", "sha384", "sha512"):
        try:
            digest = hashlib.new(algorithm, content).digest()
        except ValueError:
            # A machine that knows no weak ones.
            continue
        found |= {digest.hex().encode(), base64.b64encode(digest)}
    return found


def _refuse_checksums(
    given: Mapping[str, bytes],
    texts: Mapping[str, bytes],
    writes: Mapping[str, bytes],
    renames: Mapping[str, str],
    live: Iterable[str],
    read: Callable[[str], bytes],
) -> None:
    """Refuse where a text says the checksum of bytes that would not be there: browsers would load nothing."""
    before, there = {new: old for old, new in renames.items()}, set(live)
    after = {p: writes.get(renames.get(p, p), text) for p, text in texts.items()}
    for path, content in sorted(writes.items()):
        own = before.get(path, path)
        for stale in (read(own) if own in there else b"", given.get(own, b"")):
            if not stale or stale == content:
                continue
            sums = _checksums(stale)
            for other, text in sorted(after.items()):
                if other != own and any(one in text for one in sums):
                    raise BadChange(
                        f"{other} says what bytes {own} has (a checksum such as integrity), and they would be others"
                    )


def _reached(texts: Mapping[str, bytes], refs: Mapping[str, set[str]]) -> set[str]:
    """The names that pages lead to: chunks of earlier builds lie about as well, and are nobody's any more."""
    by_base: dict[str, list[str]] = {}
    for path in texts:
        by_base.setdefault(_base(path), []).append(path)
    waiting = [p for p in texts if not hash_in(p)]
    seen, found = set(waiting), set()
    while waiting:
        for name in refs[waiting.pop()]:
            found.add(name)
            for path in by_base.get(name, ()):
                if path not in seen:
                    seen.add(path)
                    waiting.append(path)
    return found


def _all_due(due: set[str], refs: Mapping[str, set[str]], reached: set[str]) -> tuple[set[str], set[str]]:
    """What gets another name by naming what does, and the files that are rewritten under their own."""
    due, others = set(due), set()
    grown = True
    while grown:
        names = {_base(p) for p in due}
        naming = {p for p, named in refs.items() if named & names}
        others = {p for p in naming if not hash_in(p)}
        more = {p for p in naming - others if _base(p) in reached} - due
        due |= more
        grown = bool(more)
    return due, others


def _renamed(
    due: Iterable[str], texts: Mapping[str, bytes], new: Mapping[str, bytes], live: Iterable[str]
) -> dict[str, str]:
    """Another name for each; two that name one another get theirs by what both were."""
    total = hashlib.sha256()
    for path in sorted(due):
        total.update(path.encode() + b"\0" + hashlib.sha256(new.get(path, texts.get(path, b""))).digest())
    found, there = {}, set(live)
    for path in sorted(due):
        digest = hash_in(path)
        fresh = hashlib.sha256(total.digest() + path.encode()).hexdigest()[: len(digest)]
        head, _slash, base = path.rpartition("/")
        parts = _HASHED.fullmatch(base)
        name = f"{parts.group(1)}{fresh}{parts.group(3)}" if parts else base
        found[path] = f"{head}/{name}" if head else name
        if found[path] in there and found[path] in live and found[path] == path:
            raise BadChange(f"{path} has this content already")
    return found
