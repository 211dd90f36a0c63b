#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole server for a scenario: a privileged container with a Docker engine of its own.

``server.py NAME --package … --image … --user … --ssh FOLDER`` starts one, anew if it is there, brings the images
in, and lets a user in by ``ssh -F FOLDER/config NAME``, through a port of 127.0.0.1 that was free.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bed.login import PACKAGES, Login
from tests.bed.nested import NestedEngine, NestedError
from tests.bed.ports import free_port


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--package", action="append", default=[], help="Debian package that the server has")
    parser.add_argument("--image", action="append", default=[], help="image of this machine that it has")
    parser.add_argument("--user", required=True, help="who comes by ssh and has sudo")
    parser.add_argument("--ssh", required=True, type=Path, help="folder for the throw-away key and ssh's configuration")
    asked = parser.parse_args()
    server = NestedEngine(asked.name, "molecule", packages=[*PACKAGES, *asked.package], publish={free_port(): 22})
    try:
        server.start()
        Login(server, asked.ssh, asked.user).make()
        if asked.image:
            server.load_image(*asked.image)
    except NestedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
