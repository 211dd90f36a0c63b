# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's own commands, by their argv: as somebody, in a folder, for so long, with their output in a private file."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ...base.host import known_secrets
from .. import release_commands as commands

# What of the caller's would mislead a command that runs elsewhere, as somebody else.
_LEFT_OUT = {"PWD", "OLDPWD", "MAIL", "SHLVL", "_"}
#: Bytes of an output of which the end is told.
_TAIL = 64 * 1024


@dataclass(frozen=True)
class Ended:
    """How a command ended: ``problem`` is empty where it ended well, ``lines`` are its last words."""

    problem: str = ""
    lines: tuple[str, ...] = ()


class Runner:
    """Runs commands.

    :param user: as whom, empty for the present one.
    :param folder: where.
    :param log: file for all they print (mode 0600), begun anew.
    :param further: variables of the environment beside the present ones.
    """

    def __init__(self, user: str, folder: str, log: str, further: Mapping[str, str], timeout: float) -> None:
        self._user = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
        self._folder = folder
        self._log = log
        self._timeout = timeout
        kept = {k: v for k, v in os.environ.items() if k not in _LEFT_OUT}
        kept.setdefault("PATH", os.defpath)
        self._other = os.geteuid() == 0 and self._user.pw_uid != 0
        if self._other:
            kept.update(HOME=self._user.pw_dir, USER=self._user.pw_name, LOGNAME=self._user.pw_name)
        self._environment = {**kept, **further}
        os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))

    def run(self, argv: Sequence[str], inherited: Sequence[int] = ()) -> Ended:
        """Run one to its end, in a session of its own, so that what it started is killed with it when its time is over.

        :param inherited: descriptors that it and all it starts keep open.
        """
        handle = os.open(self._log, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "r+b", buffering=0) as log:
            begin = os.fstat(handle).st_size
            try:
                process = subprocess.Popen(
                    list(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
                    cwd=self._folder, umask=0o022, start_new_session=True, pass_fds=tuple(inherited),
                    user=self._user.pw_uid if self._other else None, group=self._user.pw_gid if self._other else None,
                    extra_groups=os.getgrouplist(self._user.pw_name, self._user.pw_gid) if self._other else None,
                )  # fmt: skip
            except OSError as error:
                return Ended(f"could not be started: {error.strerror}")
            try:
                code = process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return Ended(f"did not end in {self._timeout:g} s, and was killed", self._described(begin))
            if code == 0:
                return Ended()
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            return Ended(how, self._described(begin))

    def _described(self, begin: int) -> tuple[str, ...]:
        with open(self._log, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(begin, size - _TAIL))
            text = stream.read().decode("utf-8", "replace")
        return tuple(commands.last_lines(known_secrets.masked_text(text)))


def missing_programs(wanted: Sequence[Sequence[str]]) -> list[str]:
    """The programs that are named without a folder and are not on this host."""
    names = {argv[0] for argv in wanted if "/" not in argv[0]}
    return sorted(name for name in names if not shutil.which(name))
