# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a container of the app's own image: compiles catalogues of gettext from its input, ``EVENKEEL {json}``.

By msgfmt, as Django's ``compilemessages`` does it (``--check-format``, fuzzy entries left out). Nothing is written.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from typing import Any


class Wrong(Exception):
    """What is wrong with a catalogue."""


def by_msgfmt(content: bytes) -> bytes:
    """As Django does it.

    :raises Wrong: what msgfmt says of it.
    """
    argv = ["msgfmt", "--check-format", "-o", "-", "-"]
    done = subprocess.run(argv, input=content, capture_output=True, check=False)
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").replace("<stdin>:", "line ")
        raise Wrong(" ".join(words.split())[:400] or f"msgfmt ended with {done.returncode}")
    return done.stdout


def compiled(contents: dict[str, str]) -> dict[str, Any]:
    """What becomes of catalogues, and by what; ``by`` is empty where nothing here can.

    :param contents: path → base64, as everything in the result.
    """
    if not shutil.which("msgfmt"):
        return {"by": "", "compiled": {}, "problems": {}}
    made, problems = {}, {}
    for path, content in sorted(contents.items()):
        try:
            made[path] = base64.b64encode(by_msgfmt(base64.b64decode(content))).decode()
        except Wrong as error:
            problems[path] = str(error)
    return {"by": "msgfmt", "compiled": made, "problems": problems}


def main() -> None:
    """Print what becomes of the catalogues of the input."""
    sys.stdout.write("\nEVENKEEL " + json.dumps(compiled(json.loads(sys.stdin.read()))) + "\n")
    sys.stdout.flush()
