# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx, in a container or the host's own: reading its configuration, pinning names, reloading it provably."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.host.processes import Process, processes, tree
from ...base.host.root_owned import changeable, executable, is_roots
from ...engine.host.engine import Engine
from ...engine.host.inspection import addresses_of, networks_of, pid_of
from ...engine.host.live_root import LiveRoot, RootFailed
from ..complaint import complaint_of
from ..syntax import includes_in

_MARK = "# evenkeel"
_STAMP = re.compile(r"[0-9]{1,12}\.[0-9]{3}")
# Characters of a hosts file that are read.
_HOSTS = 1024 * 1024
_PROGRAMS = ("nginx", "openresty", "angie")
#: In the place of a service's name: the proxy is no container but this host's own.
HOST = "nginx of this host"
QUITTING = "worker process is shutting down"
#: Stands for a name that nobody has, without which nginx loads nothing; the kernel refuses to connect to it at once.
NOWHERE = "255.255.255.255"


class NginxFailed(Exception):
    """nginx cannot be read or refused something; the message is for the user, however much nginx says."""

    def __init__(self, what: str) -> None:
        super().__init__(what[:2000])


class ReloadLate(NginxFailed):
    """A reload was ordered and has not taken place in time; it may yet."""


@dataclass(frozen=True)
class Pin:
    """What a service's names are pinned to, and when that was written (UNIX seconds)."""

    addresses: tuple[str, ...]
    written: float


def accepting(workers: Iterable[Process]) -> list[Process]:
    """The workers that take new connections."""
    return [p for p in workers if QUITTING not in p.command]


def loaded_at(workers: Iterable[Process]) -> float:
    """When the workers that take new connections started (UNIX seconds), 0 when there are none.

    One that the master has put in the place of another that died is younger than the configuration it has.
    """
    return min((p.started for p in accepting(workers)), default=0.0)


def draining(workers: Sequence[Process]) -> int:
    """How many workers of an earlier configuration still finish what they have."""
    return sum(1 for p in workers if QUITTING in p.command)


def start_options(command: str) -> list[str]:
    """The ``-c`` and ``-p`` that a master was started with, from its title: ``nginx: master process nginx -c …``."""
    words = command.split()
    found: list[str] = []
    for number, word in enumerate(words):
        if word in ("-c", "-p") and number + 1 < len(words):
            found += [word, words[number + 1]]
    return found


class Master:
    """A running nginx: its name for messages, the process id from which its processes are found."""

    name = ""
    pid = 0
    #: Of its container, where it is in one.
    id = ""
    #: By which others see its connections come.
    addresses: Sequence[str] = ()
    #: Network of the engine → its address there.
    by_network: Mapping[str, str] = {}
    #: Of the engine, in which it is.
    networks: Sequence[str] = ()

    def pins(self) -> Mapping[str, Pin]:
        """What names are pinned to; only in a container there can be any."""
        return {}

    def pin(self, service: str, names: Sequence[str], addresses: Sequence[str]) -> None:
        """Make names mean exactly these addresses at the next load; no addresses: take the pin away."""
        raise NotImplementedError

    def command(self, *argv: str, errors_too: bool = True) -> tuple[int, str]:
        """Run its own program; the options that it was started with are added.

        :raises NginxFailed: it is another proxy, and has no such program.
        """
        raise NginxFailed(f"{self.name} is no nginx")

    def signal_reload(self) -> tuple[int, str]:
        """Tell the master to load its configuration again."""
        return self.command("-s", "reload")

    def processes(self) -> list[Process]:
        """Master and workers."""
        return [p for p in tree(self.pid) if p.command.startswith("nginx: ")] if self.pid else []

    def workers(self) -> list[Process]:
        """Its worker processes, those that are quitting included."""
        return [p for p in self.processes() if p.command.startswith("nginx: worker process")]

    def options(self) -> list[str]:
        """See :func:`start_options`."""
        masters = [p for p in self.processes() if p.command.startswith("nginx: master process")]
        return start_options(masters[0].command) if masters else []

    def main_file(self) -> str:
        """Its main configuration file; told also where what lies there now is broken."""
        options = dict(zip(*[iter(self.options())] * 2))
        built = dict(re.findall(r"--(prefix|conf-path)=(\S+)", self.command("-V")[1]))
        prefix = options.get("-p") or built.get("prefix") or "/etc/nginx"
        return os.path.join(prefix, options.get("-c") or built.get("conf-path") or "/etc/nginx/nginx.conf")

    def dump(self) -> str:
        """The whole configuration (``nginx -T``); it may hold secrets and never leaves this host.

        :raises NginxFailed: nginx refuses its own configuration, or is not there.
        """
        code, output = self.command("-T", errors_too=False)
        if code != 0:
            raise NginxFailed(f"{self.name}: nginx -T failed: {complaint_of(output).text}")
        return output

    def described(self) -> str:
        """The same, also while a name in it means nothing, where that can be had; nothing is written for it."""
        return self.dump()

    def reload(self, timeout: float = 30.0) -> None:
        """Reload, and return once new workers have taken over.

        :raises NginxFailed: the configuration is refused; nothing was reloaded then.
        :raises ReloadLate: no new worker came within ``timeout`` seconds.
        """
        code, output = self.command("-t")
        if code != 0:
            raise NginxFailed(f"{self.name}: nginx refuses its configuration: {complaint_of(output).text}")
        known = {p.pid for p in self.workers()}
        logged = self.logged()
        code, output = self.signal_reload()
        if code != 0:
            raise NginxFailed(f"{self.name}: nginx -s reload failed: {complaint_of(output).text}")
        began = asked = time.monotonic()
        lines: list[str] = []
        # It tries to bind for 2.5 s; whatever else it says of that kind is its last word.
        while time.monotonic() < began + timeout and not any("bind() to" not in line for line in lines):
            workers = self.workers()
            fresh = [p for p in workers if p.pid not in known]
            # Until the master has told all old ones to quit, some of them still accept connections.
            if fresh and not [p for p in accepting(workers) if p.pid in known]:
                return
            time.sleep(0.02)
            if time.monotonic() > asked + 1.0:
                lines, asked = self._complaints_since(logged), time.monotonic()
        lines, waited = lines or self._complaints_since(logged), time.monotonic() - began
        why = complaint_of(lines[0]).text if lines else "see its log"
        raise ReloadLate(f"{self.name}: no new worker took over within {waited:.0f} s of the reload: {why}")

    def reload_restored(self, why: NginxFailed) -> None:
        """Have it read once more what was put back, where it may yet read what was there before: then that has gone."""
        if isinstance(why, ReloadLate):
            self.signal_reload()

    def _complaints_since(self, logged: Sequence[str]) -> list[str]:
        """What no test shows, an address that is taken for one, the master only tells its log."""
        return [line for line in self.logged() if "[emerg]" in line and line not in logged]

    def logged(self) -> list[str]:
        """The last lines of its log, as far as that is at hand."""
        return []


class HostNginx(Master):
    """The nginx of this host itself, which containers are none of.

    What it says of itself is believed where root runs it, by an executable and a configuration that are root's alone: root runs
    the same here.

    :raises NginxFailed: none runs, more than one does, or it cannot be seen; or others can change its configuration.
    """

    def __init__(self) -> None:
        self.name = HOST
        self.addresses = ("127.0.0.1", "::1")
        here = os.readlink("/proc/self/ns/mnt")
        titled = [p for p in processes() if p.command.startswith("nginx: master process") and _lives_in(p.pid, here)]
        masters = [p for p in titled if is_roots(p.pid, _PROGRAMS)]
        if len(masters) != 1:
            unseen = "; without root it cannot be seen: run with become: true" if os.geteuid() else ""
            raise NginxFailed(
                f"{len(masters) or 'no'} nginx of this host was found running (those in containers left out){unseen}"
            )
        self.pid = masters[0].pid
        self.program = executable(self.pid)
        main = self.main_file()
        wrong = changeable(main)
        if wrong:
            raise NginxFailed(
                f"{HOST} has the configuration {main}, which root does not run here: {wrong}; give it to root "
                f"(chown root, chmod go-w) with the folders above it"
            )

    def command(self, *argv: str, errors_too: bool = True) -> tuple[int, str]:
        """See the base class."""
        return run_here([self.program, *self.options(), *argv], errors_too)

    def signal_reload(self) -> tuple[int, str]:
        """By the very master that was found: a pid file may be another one's."""
        try:
            os.kill(self.pid, signal.SIGHUP)
        except OSError as error:
            return 1, f"{error.strerror}; run with become: true"
        return 0, ""


def _is_address(word: str) -> bool:
    try:
        return bool(ipaddress.ip_address(word))
    except ValueError:
        return False


def _lives_in(pid: int, namespace: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == namespace
    except OSError:
        return False


def run_here(argv: Sequence[str], errors_too: bool = True, timeout: float = 30.0) -> tuple[int, str]:
    """Run a command of this host; ``(code, output)`` as ``Engine.run_inside`` gives it."""
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            list(argv), capture_output=True, check=False, timeout=timeout, env={**os.environ, "PATH": path}
        )
    except subprocess.TimeoutExpired:
        return 124, f"no end within {timeout:g} s"
    except OSError as error:
        return 126, f"{argv[0]}: {error.strerror}"
    text = done.stdout if done.returncode == 0 and not errors_too else done.stdout + done.stderr
    return done.returncode, text.decode("utf-8", "replace")


class Contained(Master):
    """A proxy in a container.

    :param inspection: the container's inspection, taken anew whenever it may have been restarted.
    """

    def __init__(self, inspection: Mapping[str, Any]) -> None:
        self.id = str(inspection["Id"])
        self.name = str(inspection.get("Name", "")).lstrip("/")
        self.pid = pid_of(inspection) or 0
        self.addresses = addresses_of(inspection)
        self.by_network = networks_of(inspection)
        self.networks = tuple((inspection.get("NetworkSettings") or {}).get("Networks") or ())


class Nginx(Contained):
    """One nginx container.

    :param inspection: the container's inspection, taken anew whenever it may have been restarted.
    """

    def __init__(self, engine: Engine, inspection: Mapping[str, Any]) -> None:
        self.engine = engine
        super().__init__(inspection)
        self._hosts_path = str(inspection.get("HostsPath") or "")
        self._pins: dict[str, Pin] | None = None

    def _inside(self, *argv: str, errors_too: bool = True) -> tuple[int, str]:
        return self.engine.run_inside(self.id, argv, user="0", errors_too=errors_too)

    def command(self, *argv: str, errors_too: bool = True) -> tuple[int, str]:
        """As the user that it runs as: root would leave files that it cannot write to, and may lack the right to signal it."""
        words = ["nginx", *self.options(), *argv]
        return self.engine.run_inside(self.id, words, user="", errors_too=errors_too)

    def logged(self) -> list[str]:
        """See the base class; the log is where images send it, to the container's own."""
        return self.engine.logs(self.id).splitlines()

    def read(self, path: str) -> bytes | None:
        """A file as nginx sees it now, None when it cannot be read."""
        # The engine's own copy would open the mount's source anew, and miss that it was replaced since.
        with contextlib.suppress(RootFailed):
            found = LiveRoot(self.pid).content(path)
            if found is not None:
                return found
        # A comment may be in any encoding, and what a command prints comes here as UTF-8.
        code, output = self.engine.run_inside(self.id, ["base64", path], user="0", errors_too=False)
        if code == 0:
            return base64.b64decode(output)
        code, output = self.engine.run_inside(self.id, ["cat", path], user="0", errors_too=False)
        return output.encode("utf-8") if code == 0 else None

    def described(self) -> str:
        """See the base class; while a name means nothing, as where all its containers crash, its files are read as nginx would."""
        code, output = self.command("-T", errors_too=False)
        if code == 0:
            return output
        if not complaint_of(output).host:
            return self.dump()
        files: dict[str, str] = {}
        main = self.main_file()
        waiting = [main]
        while waiting:
            path = waiting.pop(0)
            if path not in files:
                content = self.read(path)
                if content is None:
                    raise NginxFailed(f"{self.name}: {path} cannot be read")
                files[path] = content.decode("utf-8", "replace")
                waiting += [
                    p for asked in includes_in(files[path], os.path.dirname(main)) for p in self._matching(asked)
                ]
        return "".join(f"# configuration file {path}:\n{text}\n" for path, text in files.items())

    def _matching(self, pattern: str) -> list[str]:
        """The files of the container that a pattern names, in the order of glob(3)."""
        words = 'IFS=; for f in $1; do if [ -e "$f" ]; then printf "%s\\n" "$f"; fi; done'
        code, output = self._inside("sh", "-c", words, "sh", pattern, errors_too=False)
        if code != 0:
            raise NginxFailed(f"{self.name}: what {pattern} includes cannot be told: {output.strip()}")
        return output.splitlines()

    def _read_hosts(self) -> str:
        if os.access(self._hosts_path, os.R_OK):
            # Whoever is root in the container writes there what he likes, and other lines stay as they are.
            with open(self._hosts_path, encoding="utf-8", errors="surrogateescape") as stream:
                text = stream.read(_HOSTS + 1)
        else:
            code, text = self._inside("cat", "/etc/hosts")
            if code != 0:
                raise NginxFailed(f"{self.name}: /etc/hosts cannot be read: {text.strip()[:300]}")
        if len(text) > _HOSTS:
            raise NginxFailed(f"{self.name}: its /etc/hosts has more than {_HOSTS // 1024} KiB; look who writes there")
        return text

    def _write_hosts(self, text: str) -> None:
        # The file is a bind mount: it keeps its inode, so it is written in place and never renamed over.
        if os.access(self._hosts_path, os.W_OK):
            with open(self._hosts_path, "r+", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
                stream.truncate()
            return
        code, output = self._inside("sh", "-c", 'printf %s "$1" > /etc/hosts', "sh", text)
        if code != 0:
            raise NginxFailed(f"{self.name}: /etc/hosts cannot be written: {output.strip()}")

    def pins(self) -> dict[str, Pin]:
        """The pins that are there, per service; read once, since only we write them."""
        if self._pins is None:
            self._pins = self._read_pins()
        return self._pins

    def _read_pins(self) -> dict[str, Pin]:
        found: dict[str, tuple[list[str], float]] = {}
        for line in self._read_hosts().splitlines():
            entry, mark, note = line.partition(_MARK)
            words, report = entry.split(), note.split()
            # Ours alone look like this; one that was tampered with is none, and goes when a pin is written.
            if mark and len(report) == 2 and _STAMP.fullmatch(report[1]) and words and _is_address(words[0]):
                addresses, _written = found.setdefault(report[0], ([], float(report[1])))
                addresses.append(words[0])
        return {service: Pin(tuple(sorted(a)), written) for service, (a, written) in found.items()}

    def pin(self, service: str, names: Sequence[str], addresses: Sequence[str]) -> None:
        """See the base class."""
        self._pins = None
        kept = [line for line in self._read_hosts().splitlines() if line.partition(_MARK)[2].split()[:1] != [service]]
        stamp = f"{_MARK} {service} {time.time():.3f}"
        fresh = [f"{address}\t{' '.join(names)}\t{stamp}" for address in addresses]
        self._write_hosts("\n".join(kept + fresh) + "\n")
        if len(addresses) > 1:
            self._expect_all(names[0], addresses)

    def _expect_all(self, name: str, addresses: Sequence[str]) -> None:
        # glibc gives only the first line of a name where /etc/host.conf does not say `multi on` (seen in images
        # without that file): all requests would then go to one of several containers.
        code, output = self._inside("getent", "ahosts", name)
        missing = set(addresses) - {line.split()[0] for line in output.splitlines() if line.strip()}
        if code == 0 and missing:
            raise NginxFailed(
                f"{self.name}: its image resolves only one address of several for {name}; "
                f"put a file /etc/host.conf with the line `multi on` into that image"
            )
