# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a container with a gate before it, be it that this process is killed in the very moment.

A container has no network namespace, so no rules, before it runs, and from then on its service's name leads to it. A shell
of its own session does both: it ends what it has begun, and holds the flock of the act until then.
"""

from __future__ import annotations

import subprocess

from ...base.host.file_lock import held_for_acts
from ...engine.host.compose import environment, stderr_summary
from ...engine.host.engine import Engine, EngineFailed
from ...traffic.host.firewall import PATH

# $1 the container, $2 the rules, to which it adds those that let this host pass. That the container has ended again is found
# out by whoever looks next.
_SCRIPT = r"""
docker start "$1" > /dev/null || exit 3
of_each='{{range .NetworkSettings.Networks}} '
seen=$(docker inspect --format \
    "{{.State.Pid}}$of_each{{.Gateway}} {{.IPv6Gateway}}{{end}};$of_each{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}" "$1") || exit 0
gate=$2
printf '%s\n' "${seen#*;}"
set -- ${seen%%;*}
pid=$1
shift
[ "$pid" -gt 1 ] && [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ] || exit 0
for address; do
    case $address in
    *:*) gate="$gate
insert rule inet evenkeel in ip6 saddr $address accept" ;;
    *.*) gate="$gate
insert rule inet evenkeel in ip saddr $address accept" ;;
    esac
done
printf '%s\n' "$gate" | nsenter "--net=/proc/$pid/ns/net" nft -f - || exit 4
"""


def start(engine: Engine, container: str, gate: str) -> list[str]:
    """Start a container, and close it to all but this host where there is a gate.

    :param gate: see :func:`.firewall.gate`; the engine is this host's then. Empty for none.
    :returns: its addresses, where it was closed. One that has ended since then is seen without any.
    :raises EngineFailed: it cannot be started, or no rules can be made for it while it runs.
    """
    if gate:
        return _start_closed(container, gate)
    engine.start(container)
    return []


def _start_closed(container: str, gate: str) -> list[str]:
    argv = ["sh", "-c", _SCRIPT, "sh", container, gate]
    settings = {**environment(), "PATH": PATH}
    try:
        done = subprocess.run(
            argv, env=settings, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
            pass_fds=tuple(held_for_acts), start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EngineFailed("no end of docker start within 300 s") from error
    except OSError as error:
        raise EngineFailed(f"docker start could not be run: {error.strerror}") from error
    if done.returncode == 3:
        first = done.stderr.strip().split("\n")[0].removeprefix("Error response from daemon: ")
        raise EngineFailed(first or "docker start gave no reason")
    if done.returncode == 4:
        raise EngineFailed(f"nobody could be kept from it: {stderr_summary(done.stderr)}")
    return done.stdout.split()
