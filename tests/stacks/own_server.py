# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack's life on a server of its own, whose power may be cut: ``python3 -m tests.stacks.own_server SEED`` runs it in there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bed.nested import NestedEngine
from tests.bed.small_stack import IMAGE
from tests.stacks.drawn_stacks import draw
from tests.stacks.live_stack import NGINX, Lived, bring_through

_ROOT = Path(__file__).resolve().parents[2]
_PRODUCT = "/evenkeel/collections/ansible_collections/evenkeel/deploy"
#: Of the collection: what a stack's life is made of.
_BROUGHT = ("tests", "plugins")


def bring_through_elsewhere(seed: int, name: str) -> Lived:
    """Bring a seed's stack through its life in a nested engine, which is gone afterwards.

    :param name: the server's.
    :raises AssertionError: something did not hold; the message says what.
    """
    packages = ("python3", "python3-docker", "python3-yaml")
    with NestedEngine(name, bed=name, packages=packages, keep_engine=True) as server:
        server.load_image(IMAGE, NGINX)
        server.exec("mkdir", "-p", _PRODUCT)
        for folder in _BROUGHT:
            subprocess.run(
                ["docker", "cp", "--quiet", str(_ROOT / folder), f"{name}:{_PRODUCT}/"], check=True, timeout=60
            )
        run = f"cd {_PRODUCT} && PYTHONPATH=/evenkeel/collections:. exec python3 -m tests.stacks.own_server {seed}"
        done = server.try_exec("sh", "-c", run, timeout=900)
    assert done.returncode == 0, done.stderr.strip()[-6000:]
    told = json.loads(done.stdout.splitlines()[-1])
    return Lived(told["requests"], [(str(what), float(seconds)) for what, seconds in told["seconds"]])


if __name__ == "__main__":
    try:
        lived = bring_through(draw(int(sys.argv[1])), "evenkeel-drawn")
    except AssertionError as error:
        sys.exit(str(error))
    print(json.dumps({"requests": lived.requests, "seconds": lived.seconds}))
