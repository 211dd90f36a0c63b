# SPDX-License-Identifier: GPL-3.0-or-later
"""Histories of releases that expand, roll, go back, are killed and contract: nothing is ever taken from code that runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import expansion
from tests.property.seeded_histories import HISTORIES


@dataclass
class Server:
    """A database with our rows, containers, and releases as the sets of migrations that their code has."""

    releases: dict[str, frozenset[str]] = field(default_factory=lambda: {"r0": frozenset()})
    rows: list[dict[str, Any]] = field(default_factory=list)
    recorded: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    running: list[str] = field(default_factory=lambda: ["r0"])

    def containers(self) -> list[dict[str, str]]:
        return [{"container": f"api-{r}", "revision": r, "image": f"sha256:{r}"} for r in self.running]

    def known(self, release: str) -> dict[str, list[str]]:
        return {f"shop.{m}": [f"Remove {m}"] for m in self.releases[release]}

    def row(self, name: str, index: int, state: str, release: str, detail: dict[str, Any]) -> dict[str, Any]:
        return {"app": "shop", "name": name, "index": index, "state": state, "release": release, "detail": detail,
                "image": f"sha256:{release}", "operation": f"Remove {name}" if index >= 0 else "", "since": ""}  # fmt: skip

    def expand(self, release: str, killed: int) -> None:
        """Each migration is one transaction; a kill leaves some of them."""
        for whole in [r for r in self.rows if r["index"] < 0 and r["name"] in self.releases[release]]:
            whole["detail"].setdefault("known_by", []).extend([release, f"sha256:{release}"])
        for count, name in enumerate(sorted(self.releases[release] - self.recorded)):
            if count == killed:
                return
            detail = {"operations": [f"Remove {name}"], "actions": [{"action": "defer"}]}
            self.rows.append(self.row(name, -1, "expanded", release, detail))
            self.rows.append(self.row(name, 0, "deferred", release, {}))
            self.recorded.add(name)

    def contract(self, release: str, killed: int) -> None:
        found = expansion.open_operations(self.rows, "default", self.known(release), self.containers())
        for count, one in enumerate(o for o in found if not o.waits_for):
            if count == killed:
                return
            self.gone.add(one.name)
            for row in self.rows:
                if row["name"] == one.name and row["index"] == one.index:
                    row["state"] = "done"

    def complaint(self) -> str:
        for release in self.running:
            used = self.gone - self.releases[release]
            if used:
                return f"{release} uses what {sorted(used)} took away"
        return ""


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "fork", "expand", "roll", "half", "back", "contract", "contract by any"]),
        st.integers(0, 7), st.integers(0, 3),
    ),
    min_size=4, max_size=40,
)  # fmt: skip


@settings(max_examples=HISTORIES)
@given(EVENTS)
def test_nothing_is_taken_from_code_that_runs(events: list[tuple[str, int, int]]) -> None:
    server = Server()
    for number, (event, which, killed) in enumerate(events):
        names = sorted(server.releases)
        release = names[which % len(names)]
        if event in ("commit", "fork"):
            base = server.releases[release]
            more = {f"m{number}"} if event == "commit" else set()
            server.releases[f"r{number + 1}"] = frozenset(base | more)
        elif event == "expand":
            server.expand(release, killed)
        elif event in ("roll", "half", "back"):
            # Only what was expanded is rolled to; back to what still works is what the promise is about.
            new = server.releases[release] <= server.recorded and not server.gone - server.releases[release]
            if new:
                server.running = [release] if event != "half" else [*server.running[:1], release]
        else:
            server.contract(release if event == "contract by any" else server.running[0], killed)
        assert not server.complaint()


@settings(max_examples=HISTORIES)
@given(EVENTS)
def test_the_code_that_serves_is_known_whatever_happened(events: list[tuple[str, int, int]]) -> None:
    """What is ahead of the code that serves is exactly what that code does not have, where it was expanded by us."""
    server = Server()
    for number, (event, which, killed) in enumerate(events):
        names = sorted(server.releases)
        release = names[which % len(names)]
        if event == "commit":
            server.releases[f"r{number + 1}"] = frozenset(server.releases[release] | {f"m{number}"})
        elif event == "expand":
            server.expand(release, killed)
            if server.releases[release] <= server.recorded:
                server.running = [release]
        ahead = {name for _app, name in expansion.unserved(server.rows, server.containers())}
        assert ahead == server.recorded - server.releases[server.running[0]]


def test_going_forward_always_ends_with_nothing_open() -> None:
    server = Server()
    for number in range(1, 6):
        server.releases[f"r{number}"] = server.releases[f"r{number - 1}"] | {f"m{number}"}
        server.expand(f"r{number}", 9)
        server.running = [f"r{number}"]
        server.contract(f"r{number}", 9)
    assert server.gone == {f"m{n}" for n in range(1, 6)}
