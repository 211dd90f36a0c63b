# SPDX-License-Identifier: GPL-3.0-or-later
"""What distance costs: operations over ssh with a delay each way, with pipelining and without, a cell of ``make evidence``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bed.killed_roll import QUICK
from tests.bed.server import Server
from tests.bed.shop import Shop, run, succeeded
from tests.bed.tasks import Run, run_to_its_end

#: Seconds each way.
DELAYS = (0.0, 0.02)
_RELAY = Path(__file__).with_name("delayed_connection.py")
_VERSION = "shop/version.py"


def timed(server: Server, delay: float, pipelining: bool, playbook: str, **variables: object) -> Run:
    """One playbook over ssh, by a connection of its own."""
    common = f"-F '{server.login.config}' -o 'ProxyCommand={sys.executable} {_RELAY} %h %p {delay}'"
    told = {"app_services": QUICK, "ansible_ssh_common_args": common, **variables}
    try:
        return run_to_its_end(
            server.playbook_argv(playbook, **told), {**server.environment, "ANSIBLE_PIPELINING": str(pipelining)}
        )
    finally:
        server.cut_connections()


def acts(place: Server | Shop, word: str, version: str = "v2-server") -> list[tuple[str, str, dict[str, object]]]:
    """The operations of one round, from v1 and back to it: name, playbook, variables. A word is good for one round."""
    source = place.folder / word / _VERSION
    source.parent.mkdir(parents=True)
    source.write_text(f'VERSION = "{word}"\n', encoding="utf-8")
    patch = {"hotfix_files": _VERSION, "hotfix_source": str(source.parents[1]), "hotfix_name": word}
    revision = run(["git", "--git-dir", str(place.repository), "rev-parse", version]).strip()
    # From the second round on it has been rolled back, which is not its fault.
    v2: dict[str, object] = {"update_version": version, "update_allow_bad": revision}
    return [
        ("update", "update", v2),
        ("update, nothing to do", "update", v2),
        ("status", "status", {}),
        ("rollback", "rollback", {}),
        ("hotfix of code", "hotfix", patch),
        ("its rollback", "rollback", {}),
    ]


def warm(server: Server) -> None:
    """Have v1 serve, with the images of v1 and v2 built and each cache warm."""
    for version in ("v1", "v2", "v1"):
        succeeded(server.update(version, app_services=QUICK))
    server.cut_connections()


def measured() -> str:
    """Each operation by each way, as a table: seconds of the playbook beside its roll, and those of the roll."""
    ways = [(delay, pipelining) for delay in DELAYS for pipelining in (True, False)]
    found: dict[str, list[Run]] = {}
    with Server("ssh-speed") as server:
        warm(server)
        for number, way in enumerate(ways):
            for name, playbook, variables in acts(server, f"far-{number}"):
                found.setdefault(name, []).append(timed(server, *way, playbook, **variables))
    head = [f"{delay * 1000:.0f} ms each way, {'' if pipelined else 'no '}pipelining" for delay, pipelined in ways]
    rows = [
        f"| {name} | {' | '.join(f'{each.seconds - each.roll:.1f} + {each.roll:.1f}' for each in runs)} |"
        for name, runs in found.items()
    ]
    return "\n".join(
        [f"| seconds beside the roll + of it | {' | '.join(head)} |", f"|{'---|' * (len(head) + 1)}", *rows]
    )


if __name__ == "__main__":
    print(measured())
