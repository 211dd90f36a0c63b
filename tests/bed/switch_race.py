# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers that go through ``current`` while it is switched, thousands of times: ours, and the usual ways beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("20261120T000000Z-1111111", "20261120T000001Z-2222222")
# Opens the folder once, as a server does that knows where it is, and reads two files of it; and one by its whole path.
READER = """
import os, sys
root, stop = sys.argv[1:3]
count = missing = mixed = 0
print("reading", flush=True)
while not os.path.exists(stop):
    count += 1
    try:
        folder = os.open(root + "/current", os.O_RDONLY | os.O_DIRECTORY)
        try:
            texts = []
            for name in ("a", "b"):
                handle = os.open(name, os.O_RDONLY, dir_fd=folder)
                texts.append(os.read(handle, 99))
                os.close(handle)
            mixed += texts[0] != texts[1]
        finally:
            os.close(folder)
        os.stat(root + "/current/a")
    except OSError:
        missing += 1
print(count, missing, mixed)
"""


@dataclass(frozen=True)
class Race:
    """What readers met during one way of switching."""

    method: str
    switches: int
    seconds: float
    reads: int
    missing: int
    mixed: int


def race(method: str, switch: Callable[[Path, str], None], times: int, readers: int = 2) -> Race:
    """Switch to and fro under readers."""
    with tempfile.TemporaryDirectory(prefix="evenkeel-race-") as folder:
        root = Path(folder)
        for name in NAMES:
            (root / "releases" / name).mkdir(parents=True)
            for file in ("a", "b"):
                (root / "releases" / name / file).write_text(name)
        os.symlink(f"releases/{NAMES[0]}", root / "current")
        argv = [sys.executable, "-c", READER, folder, str(root / "stop")]
        running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _each in range(readers)]
        for reader in running:
            assert reader.stdout is not None and reader.stdout.readline() == "reading\n"
        began = time.monotonic()
        try:
            for turn in range(times):
                switch(root, NAMES[(turn + 1) % 2])
        finally:
            seconds = time.monotonic() - began
            (root / "stop").touch()
            told = [[int(word) for word in reader.communicate()[0].split()] for reader in running]
    reads, missing, mixed = (sum(column) for column in zip(*told))
    return Race(method, times, seconds, reads, missing, mixed)


def ours(root: Path, name: str) -> None:
    """As module ``symlink_release`` does it."""
    from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store

    assert Store(str(root)).switch(name)


def by_ln(root: Path, name: str) -> None:
    """``ln -sfn``."""
    subprocess.run(["ln", "-sfn", f"releases/{name}", str(root / "current")], check=True)


def by_removal(root: Path, name: str) -> None:
    """``rm`` and ``ln -s``, as many scripts have it."""
    subprocess.run(["rm", "-f", str(root / "current")], check=True)
    subprocess.run(["ln", "-s", f"releases/{name}", str(root / "current")], check=True)


def by_module(module: str, arguments: Callable[[Path, str], dict[str, object]]) -> Callable[[Path, str], None]:
    """A module of other collections, run by Ansible."""

    def switch(root: Path, name: str) -> None:
        argv = [str(Path(sys.executable).parent / "ansible"), "localhost", "-m", module]
        done = subprocess.run(
            [*argv, "-a", json.dumps(arguments(root, name))], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 0, done.stdout[-800:] + done.stderr[-800:]

    return switch


def races(times: int = 10_000) -> list[Race]:
    """All ways on the same loop; those that Ansible runs less often, since each of their switches takes half a second."""
    link = by_module(
        "ansible.builtin.file",
        lambda root, name: {"path": f"{root}/current", "src": f"releases/{name}", "state": "link"},
    )
    helper = by_module(
        "community.general.deploy_helper",
        lambda root, name: {"path": str(root), "release": name, "state": "finalize", "clean": False},
    )
    return [
        race("evenkeel.deploy.symlink_release", ours, times),
        race("ln -sfn", by_ln, times),
        race("rm, then ln -s", by_removal, times),
        race("ansible.builtin.file state=link", link, 40),
        race("community.general.deploy_helper", helper, 40),
    ]


def table(found: list[Race]) -> str:
    """As Markdown."""
    lines = ["| how | switches | seconds | reads | not found | mixed |", "|---|---|---|---|---|---|"]
    for r in found:
        lines.append(f"| {r.method} | {r.switches:,} | {r.seconds:.1f} | {r.reads:,} | {r.missing:,} | {r.mixed:,} |")
    return "\n".join(lines)
