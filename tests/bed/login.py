# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of a nested server who comes by ssh: no root, sudo without a password, a key pair that is thrown away.

The server needs the packages of :data:`PACKAGES` and its port 22 published. Everything about the login lies in one
folder; ``ssh -F <folder>/config NAME`` gets there, and nobody's own configuration, keys or known hosts take part::

    login = Login(NestedEngine("shop-server", "fleet", packages=PACKAGES, publish={port: 22}), folder)
    login.make()
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bed.nested import NestedEngine, NestedError

PACKAGES = ("openssh-server", "sudo")
_SSH = 22
_START_SECONDS = 20
# sudo refuses a file that others may write to.
_MAKE_USER = """
set -e
id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"
install -d -o "$1" -g "$1" -m 700 "/home/$1/.ssh"
cat >"/home/$1/.ssh/authorized_keys"
chown "$1:$1" "/home/$1/.ssh/authorized_keys"
chmod 600 "/home/$1/.ssh/authorized_keys"
install -m 440 /dev/null "/etc/sudoers.d/$1"
echo "$1 ALL=(ALL) NOPASSWD: ALL" >"/etc/sudoers.d/$1"
"""
_CONFIG = """Host {name}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile "{key}"
  IdentitiesOnly yes
  BatchMode yes
  # The server is made anew each time, and so is its key.
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""


class Login:
    """One user's way into one server.

    :param server: it runs, and ``server.publish`` has a port for its port 22.
    :param folder: for the key pair and the configuration; several servers may share it.
    """

    def __init__(self, server: NestedEngine, folder: Path, user: str = "deploy") -> None:
        self.server = server
        self.folder = folder
        self.user = user
        self.config = folder / "config"
        self.key = folder / f"{server.name}.key"

    def make(self) -> Login:
        """Make the key pair, the user and the configuration, and wait until the login works.

        :raises NestedError: it does not.
        """
        ports = [outside for outside, inside in self.server.publish.items() if inside == _SSH]
        if not ports:
            raise NestedError(f"{self.server.name} publishes no port for ssh")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in (self.key, self.key.with_suffix(".key.pub")):
            path.unlink(missing_ok=True)
        self._run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.server.name, "-f", str(self.key)])
        public = self.key.with_suffix(".key.pub").read_text(encoding="utf-8")
        self.server.exec("sh", "-c", _MAKE_USER, "make-user", self.user, stdin=public)
        own = _CONFIG.format(name=self.server.name, port=ports[0], user=self.user, key=self.key.absolute())
        (self.folder / f"{self.server.name}.conf").write_text(own, encoding="utf-8")
        self.config.write_text(f'Include "{self.folder.absolute()}/*.conf"\n', encoding="utf-8")
        deadline = time.monotonic() + _START_SECONDS
        while (done := self.try_run("true")).returncode:
            if time.monotonic() > deadline:
                raise NestedError(f"{self.user} cannot log in to {self.server.name}: {done.stderr.strip()[-500:]}")
            time.sleep(0.2)
        return self

    def argv(self, *words: str) -> list[str]:
        """The command line that runs a command there; ssh gives the words to a shell as one line."""
        return ["ssh", "-F", str(self.config), self.server.name, *words]

    def try_run(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command there and return how it ended."""
        return subprocess.run(
            self.argv(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )

    @staticmethod
    def _run(argv: Sequence[str]) -> None:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise NestedError(f"{argv[0]}: {done.stderr.strip()[-500:]}")
