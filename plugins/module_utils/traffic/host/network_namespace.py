# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection from inside of a container's network, to what listens there on 127.0.0.1 alone."""

from __future__ import annotations

import ctypes
import os
import socket
import threading

#: Linux include/uapi/linux/sched.h.
_NETWORK = 0x40000000


def connect_inside(pid: int, host: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection that a process would open with this network namespace; the socket stays in it.

    A namespace is a thread's own (setns(2)), so a thread enters it and ends.

    :param pid: of the container's main process; ``timeout``: seconds.
    :raises OSError: nobody listens, or this process may not enter it (it needs root).
    """
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def connect() -> None:
        try:
            space = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(space, _NETWORK) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                os.close(space)
            made.append(socket.create_connection((host, port), timeout))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
