# SPDX-License-Identifier: GPL-3.0-or-later
"""Recommendations, all of them, in every worker's memory."""

import threading
import time

STEP = 1024 * 1024
STEPS = 2048
table: list[bytes] = []


def load() -> None:
    for _ in range(STEPS):
        table.append(b"x" * STEP)
        time.sleep(0.1)


def start() -> None:
    threading.Thread(target=load, daemon=True).start()
