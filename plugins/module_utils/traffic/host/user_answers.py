# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users are answered while a new container serves beside old ones, read from the access logs of nginx as they grow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from ...engine.host.engine import Engine
from ...engine.host.inspection import moment_of
from ...engine.host.live_root import LiveRoot, RootFailed
from ...nginx.host.nginx import Master, NginxFailed
from ...nginx.syntax import UnreadableConfig, load
from ..access_log import AccessLog, Count, counted, is_worse, logs_in

#: Lines from before that say how it usually goes, of a log that does not say who answered.
_BEFORE = 2000
_BEFORE_BYTES = 256 * 1024
_STREAMS = ("/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/proc/self/fd/2")


@dataclass
class _Reader:
    """One log that is read on: ``position`` is a byte of a file, ``moment`` the time of the last line of the engine's."""

    log: AccessLog
    stream: bool
    position: int = -_BEFORE_BYTES
    moment: str = ""
    usual: Count = field(default_factory=Count)


class UserAnswers:
    """The answers since this was made.

    :param addresses: of the new containers.
    :raises NginxFailed: nginx does not print its configuration.
    """

    def __init__(self, engine: Engine, nginx: Master, addresses: Collection[str]) -> None:
        self._engine, self._nginx, self._addresses = engine, nginx, addresses
        self._root = LiveRoot(nginx.pid, "" if nginx.id else "/")
        self.new, self.old = Count(), Count()
        try:
            logs = logs_in(load(nginx.dump()))
        except UnreadableConfig as error:
            raise NginxFailed(str(error)) from error
        self._readers = [reader for log in logs if (reader := self._begun(log))]

    def _begun(self, log: AccessLog) -> _Reader | None:
        try:
            stream = self._nginx.id != "" and (log.path in _STREAMS or self._root.link(log.path) in _STREAMS)
            reader = _Reader(log, stream)
            before = self._lines(reader, _BEFORE)
        except (RootFailed, OSError):
            return None
        _mine, reader.usual = counted(log, before, ())
        return reader

    def look(self) -> str:
        """Read on, and say what is wrong with what users are answered; empty where nothing is."""
        for reader in self._readers:
            try:
                lines = self._lines(reader)
            except (RootFailed, OSError):
                # Rotated away in between: what comes next is read.
                continue
            mine, others = counted(reader.log, lines, self._addresses)
            if reader.log.tells_who:
                self.new, self.old = self.new + mine, self.old + others
            else:
                # By all that came since, beside how it was before.
                self.new, self.old = self.new + others, reader.usual
        if not is_worse(self.new, self.old):
            return ""
        return f"users got an answer of 5xx to {self.new} requests since the new version serves (before, and from the old one: {self.old})"

    def _lines(self, reader: _Reader, most: int = 0) -> list[str]:
        if reader.stream:
            # The engine takes whole seconds, so what was read of the last one comes once more.
            since = float(int(moment_of(reader.moment))) if reader.moment else 0.0
            text = self._engine.logs(self._nginx.id, most, times=True, since=since)
            found = [line.partition(" ") for line in text.splitlines()]
            fresh = [(moment, said) for moment, _space, said in found if moment > reader.moment]
            reader.moment = max((moment for moment, _said in fresh), default=reader.moment)
            return [said for _moment, said in fresh]
        data, reader.position = self._root.grown(reader.log.path, reader.position)
        return data.decode("utf-8", "replace").splitlines()


def sentence(service: str, answers: UserAnswers | None) -> str:
    """What the trial of a service was worth, for the record; None where its proxy is no nginx."""
    if answers is None or not answers.new.total:
        return f"{service}: no access log of its proxy tells what users were answered; the new version was judged by its own answers alone"
    return f"{service}: users got an answer of 5xx to {answers.new} requests while it was tried, and to {answers.old} besides"
