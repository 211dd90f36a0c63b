# SPDX-License-Identifier: GPL-3.0-or-later
"""A run in a process of its own, so that neither side's pauses are measured in the other."""

from __future__ import annotations

import contextlib
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from .options import DEFAULT_MIX, MARK
from .orders import Acknowledged, read_acknowledged
from .result import Result

_ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 20
_DRAIN_SECONDS = 45


class LoadError(RuntimeError):
    """The generator did not start, or ended without a result."""


def proxy_log(container: str) -> str:
    """What the nginx in a container logged on stdout: a line for each request that it has read."""
    time.sleep(1)  # the engine writes what nginx logged a moment later
    argv = ["docker", "logs", container]
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout


class LoadRun:
    """Starts the generator, marks phases, stops it, and reads what it measured.

    Used as a context manager it never outlives the block; without that it still ends by itself after
    `seconds`. Everything it writes is in `directory`: result.json, acknowledged.jsonl, control, load.log.
    `rate` is arrivals per second; `progress` seconds between lines on stderr (0: none, stderr goes to load.log).
    """

    def __init__(
        self,
        url: str,
        directory: Path,
        *,
        host: str = "shop.localhost",
        rate: float = 120.0,
        seconds: float = 60.0,
        mix: str | Mapping[str, int] = DEFAULT_MIX,
        progress: float = 0.0,
        arguments: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.result_file = directory / "result.json"
        self.acknowledged_file = directory / "acknowledged.jsonl"
        self.control_file = directory / "control"
        self.log_file = directory / "load.log"
        self._seconds = seconds
        self._progress = progress
        self._process: subprocess.Popen[str] | None = None
        mixed = mix if isinstance(mix, str) else ",".join(f"{name}={number}" for name, number in mix.items())
        self.argv = [sys.executable, "-m", "tests.bed.load", "--url", url, "--host", host]
        self.argv += ["--rate", str(rate), "--seconds", str(seconds), "--mix", mixed]
        self.argv += ["--result", str(self.result_file.absolute())]
        self.argv += ["--acknowledged", str(self.acknowledged_file.absolute())]
        self.argv += ["--control", str(self.control_file.absolute()), "--progress", str(progress), *arguments]

    def __enter__(self) -> LoadRun:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    @property
    def running(self) -> bool:
        """Whether the generator is at work still."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> LoadRun:
        """Start, and return once the first arrivals are under way. What an earlier run left there is removed."""
        if self._process is not None:
            raise LoadError("this load was started already: make a new LoadRun")
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in (self.result_file, self.acknowledged_file):
            path.unlink(missing_ok=True)
        self.control_file.write_text("", encoding="utf-8")
        with self.log_file.open("w", encoding="utf-8") as log:
            # A session of its own: Ctrl-C on a demo's terminal must reach the demo, which then stops the load.
            self._process = subprocess.Popen(
                self.argv,
                cwd=_ROOT,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if self._progress else log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        ready, _write, _error = select.select([self._process.stdout], [], [], _START_SECONDS)
        if not ready or not self._process.stdout.readline().startswith("started"):
            self.kill()
            raise LoadError(f"the load generator did not start: {self._log_tail()}")
        return self

    def mark(self, name: str) -> None:
        """Begin a phase, within 0.05 s: `update-start` begins `update`, `update-end` begins `after-update`."""
        if not MARK.match(name):
            raise ValueError(f"{name!r} cannot be the name of a mark")
        with self.control_file.open("a", encoding="utf-8") as control:
            control.write(f"mark {name}\n")

    def stop(self) -> Result:
        """End the arrivals, let what is in flight come to its end (at most 45 s), and return the result."""
        if self.running and self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        return self._collect(_DRAIN_SECONDS + 15)

    def result(self) -> Result:
        """Wait until the run has come to its own end, and return the result."""
        return self._collect(self._seconds + _DRAIN_SECONDS + 15)

    def acknowledged(self) -> list[Acknowledged]:
        """The orders acknowledged so far."""
        return read_acknowledged(self.acknowledged_file)

    def kill(self) -> None:
        """End the process at once if it is there still; no result is written."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def _collect(self, patience: float) -> Result:
        if self._process is None:
            raise LoadError("the load was never started")
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise LoadError(f"the load generator did not end within {patience:g} s: {self._log_tail()}") from None
        if not self.result_file.exists():
            raise LoadError(f"the load generator left no result (rc {self._process.returncode}): {self._log_tail()}")
        return Result.read(self.result_file)

    def _log_tail(self) -> str:
        text = self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""
        return text.strip()[-2000:] or "it said nothing"
