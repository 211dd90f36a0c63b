# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a container of the app's own image: compiles catalogues of gettext from its input, ``EVENKEEL {json}``.

By what the image has, as Django's ``compilemessages`` would (``msgfmt --check-format``, fuzzy entries left out): msgfmt itself,
else Babel, else polib. Nothing is written.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

Way = Callable[[bytes], bytes]


_LINE = re.compile(r'\s*(?:#.*|(?:(?:msgctxt|msgid|msgid_plural|msgstr(?:\[\d+\])?)\s+)?"(?:[^"\\]|\\.)*"\s*)?')


class Wrong(Exception):
    """What is wrong with a catalogue."""


def _refuse_broken_lines(content: bytes) -> None:
    """Babel and polib read past a string that does not end."""
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if not _LINE.fullmatch(line):
            raise Wrong(f"line {number}: neither a comment nor a keyword with a whole string")


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


def by_babel(content: bytes) -> bytes:
    """By Babel, whose checks of placeholders are its own.

    :raises ImportError: it is not here.
    :raises Wrong: what it says of it.
    """
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    _refuse_broken_lines(content)
    try:
        catalogue = read_po(io.BytesIO(content), abort_invalid=True)
        wrong = [f"line {message.lineno}: {error}" for message, errors in catalogue.check() for error in errors]
        if wrong:
            raise Wrong("; ".join(wrong)[:400])
        compiled = io.BytesIO()
        write_mo(compiled, catalogue)
    except Wrong:
        raise
    except Exception as error:  # what a parser of others may raise
        raise Wrong(f"{type(error).__name__}: {error}"[:400]) from error
    return compiled.getvalue()


def by_polib(content: bytes) -> bytes:
    """By polib, which does not look at placeholders.

    :raises ImportError: it is not here.
    :raises Wrong: what it says of it.
    """
    import polib

    _refuse_broken_lines(content)
    try:
        compiled: bytes = polib.pofile(content.decode("utf-8")).to_binary()
    except Exception as error:  # what a parser of others may raise
        raise Wrong(f"{type(error).__name__}: {error}"[:400]) from error
    return compiled


def compiled(contents: dict[str, str]) -> dict[str, Any]:
    """What becomes of catalogues, and by what; ``by`` is empty where nothing here can.

    :param contents: path → base64, as everything in the result.
    """
    for name, make in (("msgfmt", by_msgfmt), ("Babel", by_babel), ("polib", by_polib)):
        if name == "msgfmt" and not shutil.which(name):
            continue
        made, problems = {}, {}
        try:
            for path, content in sorted(contents.items()):
                try:
                    made[path] = base64.b64encode(make(base64.b64decode(content))).decode()
                except Wrong as error:
                    problems[path] = str(error)
        except ImportError:
            continue
        return {"by": name, "compiled": made, "problems": problems}
    return {"by": "", "compiled": {}, "problems": {}}


def main() -> None:
    """Print what becomes of the catalogues of the input."""
    sys.stdout.write("\nEVENKEEL " + json.dumps(compiled(json.loads(sys.stdin.read()))) + "\n")
    sys.stdout.flush()
