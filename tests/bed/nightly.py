# SPDX-License-Identifier: GPL-3.0-or-later
"""What a night judges, and what it judged, written into ``docs/nightly.md``: a plugin of pytest that ``make nightly`` loads.

There are more beds than one night has hours: with ``--hours`` a night takes the files whose turn it is, so that each comes
round, and names what it leaves. A row for each file of tests, with the commit that it was run on. Rows of files that this
run left out, or ran in part, stay as they were, so a night that is stopped (Ctrl-C) keeps what it has judged; those of code
that has changed since say so.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/nightly.md"
#: Whose files have a row though they were never run.
FOLDERS = ("bed", "database")
INTRODUCTION = """# What the last nights judged

`make nightly` wrote this page: every test that `make test` left to it, and all of `tests/database`, on a real engine, with real
nginx, gunicorn, Celery, PostgreSQL and Redis. *seconds* are of one of two workers that run side by side. Where a row says *older*,
`plugins/`, `roles/` or `playbooks/` have changed since that commit; where a commit ends with *+edits*, some of what was judged
was in none. Figures, one machine beside another, are in [evidence.md](evidence.md).
"""
#: Seconds that a file is taken to need which was never run.
UNKNOWN = 300
#: Of the hours of all workers: files differ in length, and no worker ends with the other.
FILLED = 0.9
#: Behind a commit that did not have all that was judged.
EDITED = "+edits"
HEAD = "| tests | what they hold | passed | failed | seconds | date | commit | |\n|---|---|---|---|---|---|---|---|"


@dataclass
class File:
    """What was seen of one file of tests: how many it has, how they ended, seconds, and the figures that they printed."""

    tests: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    figures: list[str] = field(default_factory=list)


_FILES = pytest.StashKey[dict[str, File]]()


def _on_a_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long a night is."""
    parser.addoption("--hours", type=float, default=0.0, help="choose what is run within so many hours; 0: everything")


def pytest_configure(config: pytest.Config) -> None:
    """Listen where all reports come together: in the process that has the workers."""
    if not _on_a_worker(config):
        config.stash[_FILES] = {}
        config.pluginmanager.register(_Listener(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what ``make test`` has run, but for what has a row, and for histories, of which the night simulates more."""
    kept = {*FOLDERS, "property"}
    again = [i for i in items if not i.get_closest_marker("nightly") and not kept & set(i.path.parts)]
    config.hook.pytest_deselected(items=again)
    items[:] = [i for i in items if i not in set(again)]
    if config.option.hours:
        _leave_for_other_nights(config, items)


def _leave_for_other_nights(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the files whose turn it is, the longest first, so that no worker is left alone with one at the end."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    names = dict.fromkeys(i.nodeid.partition("::")[0] for i in items)
    rows = {name: known_rows().get(name, Row([], [])) for name in names}
    turns = chosen(rows, config.option.hours * 3600 * workers * FILLED)
    items.sort(key=lambda i: turns.index(name) if (name := i.nodeid.partition("::")[0]) in turns else len(turns))
    cut = next((at for at, i in enumerate(items) if i.nodeid.partition("::")[0] not in turns), len(items))
    config.hook.pytest_deselected(items=items[cut:])
    del items[cut:]


def chosen(rows: Mapping[str, Row], seconds: float) -> list[str]:
    """The files whose turn it is, the longest first.

    Those come first that failed or were never run, then those of older code, the longest ago first. One that does not fit is
    passed over for others that do, and its turn stays.

    :param seconds: of all workers together.
    """

    def turn(name: str) -> tuple[int, str, str]:
        row = rows[name]
        if not row.told or row.told[1] != "0":
            return (0, "", name)
        return (1 if _older(row.told[4]) else 2, row.told[3], name)

    taken: dict[str, float] = {}
    for name in sorted(rows, key=turn):
        needed = float(rows[name].told[2]) if rows[name].told else UNKNOWN
        if sum(taken.values()) + needed <= seconds:
            taken[name] = needed
    return sorted(taken, key=lambda name: (-taken[name], name))


class _Listener:
    def __init__(self, config: pytest.Config) -> None:
        self.files = config.stash[_FILES]
        self.plugins = config.pluginmanager

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        self._expect(ids)

    def _expect(self, ids: Iterable[str]) -> None:
        for name, number in Counter(i.partition("::")[0] for i in ids).items():
            self.files.setdefault(name, File()).tests = number

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        seen = self.files.setdefault(report.location[0], File())
        seen.seconds += report.duration
        if report.when == "call" or report.outcome != "passed":
            seen.ended[report.outcome] += 1
        if report.failed:
            # The summary may be hours away, or never come.
            self.plugins.get_plugin("terminalreporter").write_line(f"\n{report.nodeid}\n{report.longreprtext[-4000:]}")
        if report.when == "call":
            lines = (line.strip() for line in report.capstdout.splitlines())
            seen.figures += [line.removeprefix("evidence: ") for line in lines if line.startswith("evidence: ")]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what each file took, and its figures."""
    for name, seen in sorted(config.stash.get(_FILES, {}).items(), key=lambda item: -item[1].seconds):
        if not seen.ended:
            continue
        counts = ", ".join(f"{number} {outcome}" for outcome, number in sorted(seen.ended.items()))
        terminalreporter.write_line(f"{seen.seconds:7.0f} s  {name}: {counts}")
        for figure in seen.figures:
            terminalreporter.write_line(f"            {figure}")
    left = sorted(set(known_rows()) - set(config.stash.get(_FILES, {})))
    if config.option.hours and left:
        terminalreporter.write_line(
            f"left to other nights: {len(left)} files ({', '.join(left)}); all of them: ARGS='--hours 0'"
        )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the page, if whole files were run to their end."""
    config = session.config
    in_part = config.option.keyword or config.option.markexpr or any("::" in word for word in config.args)
    judged = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    if _on_a_worker(config) or in_part or exitstatus not in judged:
        return
    known = dict(known_rows())
    date, commit = time.strftime("%Y-%m-%d", time.gmtime()), _commit()
    for name, seen in config.stash[_FILES].items():
        if sum(seen.ended.values()) < seen.tests:
            continue
        bad = sum(number for outcome, number in seen.ended.items() if outcome != "passed")
        told = [str(seen.ended["passed"]), str(bad), f"{seen.seconds:.0f}", date, commit]
        known[name] = Row(told, seen.figures)
    PAGE.write_text(page(dict(sorted(known.items()))), encoding="utf-8")


@dataclass(frozen=True)
class Row:
    """Passed, failed, seconds, date and commit of a file, or nothing where it was never run; its figures."""

    told: list[str]
    figures: list[str]


@functools.cache
def known_rows() -> Mapping[str, Row]:
    """The rows of the page as this run found it, and of the files that have none yet."""
    rows = rows_of(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    there = {str(p.relative_to(ROOT)) for folder in FOLDERS for p in (ROOT / "tests" / folder).glob("test_*.py")}
    return {name: rows.get(name, Row([], [])) for name in there | set(rows) if (ROOT / name).exists()}


def rows_of(text: str) -> dict[str, Row]:
    """Read a page of ours."""
    figures: dict[str, list[str]] = {}
    for name, figure in re.findall(r"^- `([^`]+)`: (.*)$", text, re.MULTILINE):
        figures.setdefault(name, []).append(figure)
    found = {}
    for line in re.findall(r"^\| `([^`]+)` \|(.*)\|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in line[1].split(" | ")]
        told = cells[1:6] if len(cells) == 7 and cells[4] else []
        found[line[0]] = Row(told, figures.get(line[0], []))
    return found


def page(rows: Mapping[str, Row]) -> str:
    """The page with these rows."""
    lines = [INTRODUCTION, HEAD]
    for name, row in rows.items():
        told = row.told or [""] * 5
        mark = "not run" if not row.told else "**not ok**" if row.told[1] != "0" else "ok"
        older = row.told and _older(row.told[4])
        lines.append(f"| `{name}` | {_about(name)} | {' | '.join(told)} | {mark}{', older' if older else ''} |")
    figures = [f"- `{name}`: {figure}" for name, row in rows.items() for figure in row.figures]
    return "\n".join([*lines, "", "## Figures that they printed", "", *figures]) + "\n"


def _about(name: str) -> str:
    text = ast.get_docstring(ast.parse((ROOT / name).read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].replace("|", "/")


def _commit() -> str:
    """The commit whose files these are, and whether some of them are none of it; the pages of results do not count."""
    edited = _git("status", "--porcelain", "--", ".", ":!docs")
    return _git("rev-parse", "--short", "HEAD") + (EDITED if edited else "")


@functools.cache
def _older(commit: str) -> bool:
    if commit.endswith(EDITED):
        return True
    changed = _git("log", "-1", "--format=%H", "--", "plugins", "roles", "playbooks")
    asked = subprocess.run(
        ["git", "merge-base", "--is-ancestor", changed, commit], cwd=ROOT, capture_output=True, check=False
    )
    return asked.returncode != 0


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
