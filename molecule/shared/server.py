#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole server for a scenario: a privileged container with a Docker engine of its own.

``server.py create NAME --package … --image …`` starts one, anew if it is there, and brings the images in;
``server.py destroy NAME`` removes it and its volume.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bed.nested import NestedEngine, NestedError


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("act", choices=["create", "destroy"])
    parser.add_argument("name")
    parser.add_argument("--package", action="append", default=[], help="Debian package that the server has")
    parser.add_argument("--image", action="append", default=[], help="image of this machine that it has")
    asked = parser.parse_args()
    server = NestedEngine(asked.name, "molecule", packages=asked.package)
    try:
        server.destroy()
        if asked.act == "create":
            server.start()
            if asked.image:
                server.load_image(*asked.image)
    except NestedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
