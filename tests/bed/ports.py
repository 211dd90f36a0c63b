# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of this machine for beds to publish on."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
