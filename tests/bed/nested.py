# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole server in a container: privileged, with a Docker engine of its own and its images on a volume.

What happens inside (Swarm, firewalls, restarts of the engine) leaves this machine's engine alone. Images come
in by ``docker save | docker load``, so no registry is needed::

    with NestedEngine("shop-server", bed="fleet", publish={18080: 80}) as server:
        server.load_image("evenkeel/nginx:1.26")
        server.docker("run", "--detach", "--publish", "80:80", "evenkeel/nginx:1.26")
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

BASE_IMAGE = "evenkeel/base:trixie"
REPOSITORY = "evenkeel/engine"
PACKAGES = ("docker.io", "docker-cli", "docker-compose", "docker-buildx", "iptables", "nftables", "iproute2", "procps")
SUITE = "trixie"
#: The suite whose engine, Compose and Python are the newest that are packages.
NEWER = "testing"
#: The one whose engine and SDK are the oldest that are supported. It has no Compose v2, so plugins of the engine come from ``SUITE``.
OLDER = "bookworm"
_OLDER_BASE = f"evenkeel/base:{OLDER}"
# The mirror is the one that the base image has, as a line or in the newer form.
_OTHER_SUITE = (
    "echo \"deb [check-valid-until=no] $(grep -rhoE 'https?://[^ ]+' /etc/apt/sources.list* | head -n 1) {} main\" "
    ">/etc/apt/sources.list.d/other.list"
)
_INSTALL = "apt-get update && apt-get install -y --no-install-recommends"
_CLEAN = "rm -rf /var/lib/apt/lists/*"
_PLUGINS = ("docker-compose", "docker-buildx")
_PLUGINS_FOLDER = "/usr/libexec/docker/cli-plugins"
SYSTEMD = ("systemd", "systemd-sysv", "dbus")
# What systemd 256 and later want to be told on a machine with cgroup v1.
_LEGACY = (
    "systemd.unified_cgroup_hierarchy=0",
    "systemd.legacy_systemd_cgroup_controller=1",
    "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
)
BED = "evenkeel.bed"
STAMP = "evenkeel.stamp"
_STAMP_OF = '{{index .Config.Labels "evenkeel.stamp"}}'

# As first process it has to reap; with cgroup v2 no process may stay in the group that gets children.
_START = """
set -e
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p /sys/fs/cgroup/init
    while read -r pid; do echo "$pid" >/sys/fs/cgroup/init/cgroup.procs || :; done </sys/fs/cgroup/cgroup.procs
    sed 's/ / +/g; s/^/+/' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
fi
if [ -n "${SLICES:-}" ] && [ -d /sys/fs/cgroup/cpu ]; then
    cd /sys/fs/cgroup/cpu
    mkdir -p system.slice/docker.service user.slice
    echo $$ >user.slice/cgroup.procs
    set -- "$@" --cgroup-parent /system.slice
fi
# Where it starts again after a power cut: on a server /run is empty then.
rm -rf /run/docker /run/containerd /run/docker.pid /run/docker.sock
if [ -x /usr/sbin/sshd ]; then mkdir -p /run/sshd && /usr/sbin/sshd; fi
if [ -n "${SLICES:-}" ] && [ -d /sys/fs/cgroup/cpu ]; then echo $$ >system.slice/docker.service/cgroup.procs; cd /; fi
[ -n "${KEEP_ENGINE:-}" ] || exec dockerd "$@"
while :; do
    dockerd "$@" || :
    sleep 2
    rm -f /run/docker.pid /run/docker/containerd/containerd.pid
done
"""


class NestedError(RuntimeError):
    """The server could not be made, or a command in it failed; the message has its last words."""


def _run(argv: Sequence[str], timeout: float, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            list(argv), input=stdin, capture_output=True, text=True, timeout=timeout, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise NestedError(f"{' '.join(argv[:8])}: no end within {timeout:g} s") from error


def _log_tail(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip())[-1500:] or f"exit code {done.returncode}"


def engine_image(packages: Sequence[str] = (), suite: str = SUITE) -> str:
    """The name of the server's image; it is built from Debian packages if it is not there, or is of another recipe.

    :param packages: what a server needs besides the engine (``openssh-server``, ``python3-docker``, …).
    :param suite: of Debian, from which its packages come.
    """
    extra = tuple(sorted(set(packages) - set(PACKAGES)))
    bases = [BASE_IMAGE]
    if suite == OLDER:
        _make_older_base()
        bases.append(_OLDER_BASE)
        text = _older_recipe(extra)
    else:
        add, source = ("", "") if suite == SUITE else (f"{_OTHER_SUITE.format(suite)} && ", f"-t {suite} ")
        text = f"FROM {BASE_IMAGE}\nRUN {add}{_INSTALL} {source}{' '.join((*PACKAGES, *extra))} && {_CLEAN}\n"
    base = _run(["docker", "image", "inspect", "--format", "{{.Id}}", *bases], 30)
    if base.returncode:
        raise NestedError(f"{' or '.join(bases)} is not there: make setup brings it")
    stamp = hashlib.sha256((text + base.stdout).encode()).hexdigest()[:32]
    name = f"{REPOSITORY}:{suite}" + (f"-{hashlib.sha256(' '.join(extra).encode()).hexdigest()[:8]}" if extra else "")
    present = _run(["docker", "image", "inspect", "--format", _STAMP_OF, name], 30)
    if present.stdout.strip() == stamp:
        return name
    labels = ["--label", "evenkeel.base=1", "--label", f"{STAMP}={stamp}"]
    built = _run(["docker", "build", "--quiet", *labels, "--tag", name, "-"], 600, stdin=text)
    if built.returncode:
        raise NestedError(f"{name} could not be built: {_log_tail(built)}")
    return name


def _make_older_base() -> None:
    made = _run([str(Path(__file__).parents[2] / "scripts/base_images.sh"), OLDER], 600)
    if made.returncode:
        raise NestedError(f"{_OLDER_BASE} could not be made: {_log_tail(made)}")


def _older_recipe(extra: Sequence[str]) -> str:
    named = " ".join(name for name in (*PACKAGES, *extra) if name not in ("docker-cli", *_PLUGINS))
    fetch = f"apt-get update && cd /tmp && apt-get download {' '.join(_PLUGINS)}"
    unpack = 'for package in *.deb; do dpkg-deb -x "$package" /plugins; done'
    return (
        f"FROM {BASE_IMAGE} AS newer\nRUN {fetch} && {unpack}\n"
        f"FROM {_OLDER_BASE}\nRUN {_INSTALL} {named} && {_CLEAN}\n"
        f"COPY --from=newer /plugins{_PLUGINS_FOLDER} {_PLUGINS_FOLDER}\n"
    )


class NestedEngine:
    """One server. As a context manager it is there from entering the block and gone after it, whatever happens.

    :param name: the container's name; the volume of its ``/var/lib/docker`` is called ``<name>-docker``.
    :param bed: value of the label ``evenkeel.bed`` on both.
    :param publish: port of 127.0.0.1 on this machine → port in the server.
    :param packages: see :func:`engine_image`.
    :param network: network of this machine's engine to be in, the default bridge without it.
    :param arguments: further arguments of ``dockerd``.
    :param keep_engine: start the engine again 2 s after it ended, as systemd does; without that the server ends with it.
    :param memory: what all of it may take together, such as ``2g``; it swaps nothing.
    :param suite: see :func:`engine_image`.
    :param ipv6: be in a network of its own where it has an IPv6 address, and be reached by that too: what is published, is at ::1 as well.
    :param slices: share the processors as systemd has it, on a machine with cgroup v1: engine and each container in
        ``system.slice``, who is logged in in ``user.slice``.
    :param systemd: whether the first process is systemd, which starts the engine as on a real server.
    """

    def __init__(
        self,
        name: str,
        bed: str,
        *,
        publish: Mapping[int, int] | None = None,
        packages: Sequence[str] = (),
        network: str = "",
        arguments: Sequence[str] = (),
        keep_engine: bool = False,
        memory: str = "",
        systemd: bool = False,
        ipv6: bool = False,
        suite: str = SUITE,
        slices: bool = False,
    ) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]+", name):
            raise NestedError(f"{name!r} cannot be the name of a container")
        self.name = name
        self.bed = bed
        self.publish = dict(publish or {})
        self.packages = (*packages, *(SYSTEMD if systemd else ()))
        self.suite = suite
        self.ipv6 = ipv6
        self.network = name if ipv6 else network
        self.arguments = tuple(arguments)
        self.keep_engine = keep_engine
        self.memory = memory
        self.systemd = systemd
        self.slices = slices
        self.volume = f"{name}-docker"

    def __enter__(self) -> NestedEngine:
        try:
            return self.start()
        except BaseException:
            self.destroy()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.destroy()

    # -- life -----------------------------------------------------------------------------------------

    def start(self, timeout: float = 60.0) -> NestedEngine:
        """Start the server, anew if one of this name is there, and wait until its engine answers.

        :param timeout: seconds for the engine; building the image has its own bound.
        """
        image = engine_image(self.packages, self.suite)
        self.destroy()
        label = ["--label", f"{BED}={self.bed}"]
        argv = ["docker", "run", "--detach", "--privileged", "--cgroupns", "private", *label]
        argv += ["--tmpfs", "/run", "--tmpfs", "/run/lock"] if self.systemd else ["--init"]
        argv += ["--name", self.name, "--hostname", self.name, "--volume", f"{self.volume}:/var/lib/docker"]
        argv += ["--network", self.network] if self.network else []
        argv += ["--env", "KEEP_ENGINE=1"] if self.keep_engine else []
        argv += ["--env", "SLICES=1"] if self.slices else []
        argv += ["--memory", self.memory, "--memory-swap", self.memory] if self.memory else []
        for outside, inside in self.publish.items():
            argv += ["--publish", f"127.0.0.1:{outside}:{inside}"]
            argv += ["--publish", f"[::1]:{outside}:{inside}"] if self.ipv6 else []
        first = ["sh", "-c", _START, "engine", *self.arguments]
        if self.systemd:
            first = ["/sbin/init", *(() if Path("/sys/fs/cgroup/cgroup.controllers").exists() else _LEGACY)]
        # An engine before 27 gives no network a range of its own choice.
        subnet = f"fd65:{hashlib.sha256(self.name.encode()).hexdigest()[:4]}::/64"
        network = (
            [["docker", "network", "create", "--ipv6", "--subnet", subnet, *label, self.name]] if self.ipv6 else []
        )
        for words in (*network, ["docker", "volume", "create", *label, self.volume], [*argv, image, *first]):
            done = _run(words, 60)
            if done.returncode:
                raise NestedError(f"{self.name} could not be started: {_log_tail(done)}")
        self.wait_for_engine(timeout)
        return self

    def wait_for_engine(self, timeout: float = 60.0) -> None:
        """Return when the engine in the server answers.

        :raises NestedError: it does not within ``timeout`` seconds, or the server does not run.
        """
        deadline = time.monotonic() + timeout
        # An engine that comes back listens long before it answers.
        probe = ["docker", "exec", self.name, "timeout", "5", "docker", "version", "--format", "{{.Server.Version}}"]
        while (done := _run(probe, 30)).returncode:
            if time.monotonic() > deadline or not self.pid:
                log = _run(["docker", "logs", "--tail", "20", self.name], 30)
                raise NestedError(f"the engine in {self.name} does not answer: {_log_tail(done)}\n{log.stderr[-1500:]}")
            time.sleep(0.2)

    def destroy(self) -> None:
        """Remove the server and its volume; nothing happens where there is none."""
        network = [["network", "rm", "--force", self.name]] if self.ipv6 else []
        for words in (["rm", "--force", "--volumes", self.name], ["volume", "rm", "--force", self.volume], *network):
            # At Ctrl-C too: what is not there any more is what was wanted.
            with contextlib.suppress(NestedError):
                _run(["docker", *words], 120)

    @property
    def pid(self) -> int:
        """This machine's process id of the server's first process, 0 when it does not run."""
        done = _run(["docker", "inspect", "--format", "{{.State.Pid}}", self.name], 30)
        return int(done.stdout) if done.returncode == 0 else 0

    def end_engine(self, how: str = "KILL", timeout: float = 120.0) -> None:
        """End the engine by a signal, and return once it is gone; with ``keep_engine`` another one comes.

        :param how: KILL as a crash does, which leaves what it ran running until the next engine cleans up; TERM as
            ``systemctl restart`` does.
        """
        pid = self.exec("pgrep", "-x", "dockerd").split()[0]
        self.exec("kill", f"-{how}", pid)
        deadline = time.monotonic() + timeout
        while self.try_exec("test", "-d", f"/proc/{pid}").returncode == 0:
            if time.monotonic() > deadline:
                raise NestedError(f"the engine in {self.name} did not end within {timeout:g} s of {how}")
            time.sleep(0.1)

    def cut_power(self) -> None:
        """End everything in the server at once; its disk stays. :meth:`power_on` starts it again."""
        done = _run(["docker", "kill", self.name], 30)
        if done.returncode:
            raise NestedError(f"{self.name} could not be killed: {_log_tail(done)}")

    def power_on(self) -> None:
        """Start the server after :meth:`cut_power`; its engine starts what has a restart policy."""
        done = _run(["docker", "start", self.name], 60)
        if done.returncode:
            raise NestedError(f"{self.name} could not be started again: {_log_tail(done)}")

    # -- what happens in it ---------------------------------------------------------------------------

    def try_exec(
        self, *argv: str, stdin: str | None = None, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the server and return how it ended."""
        interactive = ["--interactive"] if stdin is not None else []
        return _run(["docker", "exec", *interactive, self.name, *argv], timeout, stdin)

    def exec(self, *argv: str, stdin: str | None = None, timeout: float = 120.0) -> str:
        """Run a command in the server and return what it printed.

        :raises NestedError: it failed, or did not end within ``timeout`` seconds.
        """
        done = self.try_exec(*argv, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise NestedError(f"{self.name}: {' '.join(argv)[:200]}: {_log_tail(done)}")
        return done.stdout

    def docker(self, *words: str, stdin: str | None = None, timeout: float = 120.0) -> str:
        """``docker …`` in the server."""
        return self.exec("docker", *words, stdin=stdin, timeout=timeout)

    def write(self, path: str, text: str, mode: str = "0600") -> None:
        """Write a file in the server, with its folders."""
        script = 'mkdir -p "$(dirname "$1")" && install -m "$2" /dev/null "$1" && cat >"$1"'
        self.exec("sh", "-c", script, "write", path, mode, stdin=text)

    def load_image(self, *names: str, timeout: float = 300.0) -> None:
        """Bring images of this machine's engine into the server's; layers that several share come once."""
        with subprocess.Popen(["docker", "save", *names], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as save:
            try:
                load = subprocess.run(
                    ["docker", "exec", "--interactive", self.name, "docker", "load", "--quiet"],
                    stdin=save.stdout, capture_output=True, text=True, timeout=timeout, check=False,
                )  # fmt: skip
            except BaseException:
                save.kill()
                raise
            complaint = save.communicate()[1].decode("utf-8", "replace").strip()
        if save.returncode or load.returncode:
            raise NestedError(f"{', '.join(names)} did not get into {self.name}: {complaint or _log_tail(load)}")

    # -- what this machine sees of it -----------------------------------------------------------------

    def outer_pids(self, *inner: int) -> list[int]:
        """This machine's process ids of processes that have these ids in the server; those that are gone left out."""
        identity = _run(["docker", "inspect", "--format", "{{.Id}}", self.name], 30).stdout.strip()
        return [outer for outer, inside in _processes_of(identity) if inside in inner] if identity else []


def _processes_of(container: str) -> list[tuple[int, int]]:
    """Of every process in a container, or in one that runs in it: its id here and its id there."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if container not in (entry / "cgroup").read_text(encoding="utf-8"):
                continue
            status = (entry / "status").read_text(encoding="utf-8", errors="replace")
            match = re.search(r"^NSpid:\s+(\d+)\s+(\d+)", status, re.MULTILINE)
            found += [(int(match[1]), int(match[2]))] if match else []
    return found
