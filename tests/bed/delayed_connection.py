# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh's way to a server that is far away: ``ProxyCommand python delayed_connection.py HOST PORT SECONDS``.

Each byte arrives so many seconds later, in either direction; there is no other limit. A kernel without netem has nothing for it.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable

_CHUNK = 65536


def pass_on(read: Callable[[], bytes], write: Callable[[bytes], object], delay: float) -> None:
    """Write what is read, each piece ``delay`` seconds after it came, and end the process after the last."""
    waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def written() -> None:
        while True:
            due, data = waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                os._exit(0)
            write(data)

    threading.Thread(target=written, daemon=True).start()
    while True:
        try:
            data = read()
        except OSError:
            data = b""
        waiting.put((time.monotonic() + delay, data))
        if not data:
            return


def main(host: str, port: str, delay: str) -> None:
    """Connect, and pass on in both directions."""
    far = socket.create_connection((host, int(port)))
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    back = (lambda: far.recv(_CHUNK), lambda data: os.write(1, data), float(delay))
    threading.Thread(target=pass_on, args=back).start()
    pass_on(lambda: os.read(0, _CHUNK), far.sendall, float(delay))


if __name__ == "__main__":
    main(*sys.argv[1:])
