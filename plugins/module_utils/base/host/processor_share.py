# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the processors a container gets where several want them, by its control group.

Not by ``docker update --cpu-shares``: nothing there means "as it was" again, and the engine would keep it.  A control group is
made anew at each start of a container, so what is written here is never left longer than that.  Where this process may
not write, nothing changes.
"""

from __future__ import annotations

import contextlib

from .processes import control_group, text_of

# By the version of control groups: the file, what the kernel gives to each, and a tenth of that
# (https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/scheduler/sched-design-CFS.html).
_SECOND = ("cpu.weight", "100", "10")
_FIRST = ("cpu.shares", "1024", "102")


def lower(pid: int) -> None:
    """Let a container with this main process have a tenth as much as others, unless its definition has a share of its own."""
    _change(pid, False)


def restore(pid: int) -> None:
    """Let it have as much as others, where :func:`lower` has taken it."""
    _change(pid, True)


def _change(pid: int, back: bool) -> None:
    group, second = control_group(pid, "cpu") if pid else ("", False)
    file, usual, low = _SECOND if second else _FIRST
    before, after = (low, usual) if back else (usual, low)
    if group and text_of(f"{group}/{file}").strip() == before:
        with contextlib.suppress(OSError), open(f"{group}/{file}", "w", encoding="ascii") as stream:
            stream.write(after)
