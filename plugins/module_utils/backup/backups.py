# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a backup of a database worth: which one is good enough, which may go, what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..postgres.programs import first_complaint, quoted

READ, RESTORED = "read", "restored"
#: How the archives of ``pg_dump --format custom`` begin.
MAGIC = b"PGDMP"
_NAME = re.compile(r"^[A-Za-z0-9_-]+-\d{8}T\d{6}Z(\.\d+)?\.(dump|tar|tar\.age|tar\.vault)$")
# Of a first dump nothing is known but what it is made from: compressed and without indexes it is less than this part.
_FIRST = 3


@dataclass(frozen=True)
class Backup:
    """One dump that lies there whole, with its manifest.

    :ivar started: UNIX seconds at which its snapshot was taken.
    :ivar proven: ``read`` to its end, or ``restored`` and compared.
    :ivar releases: the releases that it was made for.
    """

    name: str
    started: float
    size: int
    proven: str
    releases: tuple[str, ...] = ()


def is_name(text: str) -> bool:
    """Whether a file is named as this collection names backups."""
    return bool(_NAME.fullmatch(text))


def is_label(text: str) -> bool:
    """Whether that may be what the name of a backup begins with."""
    return bool(re.fullmatch(r"[A-Za-z0-9_-]{1,60}", text)) and not text.startswith("-")


def new_name(database: str, moment: str, taken: Collection[str], suffix: str = "dump") -> str:
    """A fresh file name: ``<database>-<UTC time>.dump``, counted up where two fall into one second.

    :param moment: UTC as ``YYYYMMDDTHHMMSSZ``.
    """
    base, count = f"{re.sub(r'[^A-Za-z0-9_-]', '_', database)}-{moment}", 1
    name = f"{base}.{suffix}"
    while name in taken:
        count += 1
        name = f"{base}.{count}.{suffix}"
    return name


def newest_first(backups: Collection[Backup]) -> list[Backup]:
    """The same in the order in which they are looked at."""
    return sorted(backups, key=lambda b: (b.started, b.name), reverse=True)


def good_enough(backups: Collection[Backup], since: float) -> Backup | None:
    """The newest proven one whose snapshot was not taken before ``since`` (UNIX seconds)."""
    return next((b for b in newest_first(backups) if b.proven in (READ, RESTORED) and b.started >= since), None)


def to_remove(backups: Collection[Backup], keep: int, living: Collection[str]) -> list[Backup]:
    """Those that may go, the oldest first.

    The ``keep`` newest stay, those that were made for a release that is still there, and the newest one that was truly
    restored: until another has been, it is the one that is known to be good.

    :param keep: 0 leaves everything.
    """
    ordered = newest_first(backups)
    if keep < 1:
        return []
    proven = next((b.name for b in ordered if b.proven == RESTORED), "")
    late = (b for b in ordered[keep:] if b.name != proven and not set(b.releases) & set(living))
    return list(reversed(list(late)))


def room_for(last: int, database: int) -> int:
    """Bytes that the next dump may take.

    :param last: bytes of the one before, 0 where there is none; ``database``: the database's own size.
    """
    return last + last // 4 if last else database // _FIRST


def wrong_with_head(head: bytes, size: int, noted: int) -> str:
    """What can be told of a file without reading it, empty where nothing is wrong.

    :param head: its first bytes; ``noted``: its size as the manifest has it, -1 where there is none.
    """
    if size == 0:
        return "is empty (0 bytes)"
    if noted > size:
        return f"is truncated: {size} of {noted} bytes are there"
    if not head.startswith(MAGIC):
        return "is no archive of pg_dump's custom format"
    return ""


# What pg_restore says of an archive, and what that means.
_MEANINGS = (
    ("unsupported version", "was made by a newer pg_dump than the pg_restore of this server, which cannot read it"),
    ("end of file", "is truncated"),
    ("too short", "is truncated"),
    ("uncompress", "is corrupted"),
    ("corrupt", "is corrupted"),
    ("unexpected", "is corrupted"),
    ("valid archive", "is no archive of pg_dump's custom format"),
)


def meaning(complaint: str) -> str:
    """What a complaint of pg_restore about an archive means, with its own words."""
    said = first_complaint(complaint)
    name = next((words for sign, words in _MEANINGS if sign in said), "cannot be read")
    return f"{name} ({said})"


def has_pg_dump(code: int, said: str) -> bool | None:
    """Whether a container has ``pg_dump`` of PostgreSQL, by what ``pg_dump --version`` did there; None where that says nothing.

    A busy engine that did not answer in time must not pass for a database of another make: an update would go on without a
    backup.
    """
    if code == 0:
        # An empty answer says nothing: a busy engine may lose it.
        return "PostgreSQL" in said if said.strip() else None
    lacking = code in (126, 127) and any(sign in said.lower() for sign in ("not found", "no such file"))
    return False if lacking else None


# Their members may make extensions that elsewhere only a superuser may.
_ADMINISTRATORS = frozenset(
    {
        "rds_superuser",
        "cloudsqlsuperuser",
        "alloydbsuperuser",
        "azure_pg_admin",
        "neon_superuser",
        "doadmin",
        "avnadmin",
    }
)
_RIGHTS = (
    ("superuser", "SUPERUSER"),
    ("createdb", "CREATEDB"),
    ("createrole", "CREATEROLE"),
    ("bypassrls", "BYPASSRLS"),
)


def login_statements(roles: Sequence[Mapping[str, Any]], present: Collection[str]) -> list[str]:
    """SQL that lets in whoever may log in where a dump is from, with the rights of there."""
    found = []
    for role in roles:
        name = str(role["name"])
        if role.get("login") and name not in present and not name.startswith("pg_"):
            administers = _ADMINISTRATORS & {name, *map(str, role.get("member_of") or [])}
            given = {**role, "superuser": True} if administers else role
            found.append(
                " ".join(["ALTER ROLE", quoted(name), "LOGIN", *(word for key, word in _RIGHTS if given.get(key))])
                + ";"
            )
    return found


def differences(noted: Mapping[str, Any], restored: Mapping[str, Any]) -> list[str]:
    """Where what was restored is not what was noted in the snapshot of the dump; empty where it is the same.

    :param noted: ``relations`` (kind to names), ``rows`` (table to rows), ``extensions`` (name to version),
        ``migrations``, ``large_objects``.
    """
    found = []
    kinds = {**noted.get("relations", {}), **restored.get("relations", {})}
    for kind in sorted(kinds):
        before, after = set(noted["relations"].get(kind, ())), set(restored["relations"].get(kind, ()))
        found += [f"{kind} {name} is missing" for name in sorted(before - after)]
        found += [f"{kind} {name} was not there" for name in sorted(after - before)]
    for table, rows in sorted(noted.get("rows", {}).items()):
        there = restored.get("rows", {}).get(table)
        if there is not None and there != rows:
            found.append(f"{table} has {there} rows instead of {rows}")
    for name in sorted(set(noted.get("extensions", {})) - set(restored.get("extensions", {}))):
        found.append(f"extension {name} is missing")
    for key in ("migrations", "large_objects"):
        if noted.get(key) != restored.get(key):
            found.append(f"{key} differ")
    return found


def written_since(noted: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """The tables that have another number of rows than a backup, those that differ most first."""
    changed = [(t, noted.get(t, 0), now.get(t, 0)) for t in {*noted, *now} if noted.get(t, 0) != now.get(t, 0)]
    ordered = sorted(changed, key=lambda c: (-abs(c[2] - c[1]), c[0]))
    return [f"{table} {rows:,} rows now, {then:,} in the backup" for table, then, rows in ordered]
