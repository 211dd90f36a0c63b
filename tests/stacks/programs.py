# SPDX-License-Identifier: GPL-3.0-or-later
"""The one program of generated stacks; by which name it is started makes it a server, a worker, or one that must be alone.

It is told by its environment: ``VERSION``; ``FAULT``: ``500`` (each answer is one), ``exit`` (it ends at once), ``deaf`` (it never
answers).
"""

import fcntl
import http.server
import os
import pathlib
import sys
import time

VERSION, FAULT = os.environ.get("VERSION", ""), os.environ.get("FAULT", "")
NAME = os.path.basename(sys.argv[0])
SERVERS = ("gunicorn", "uvicorn", "daphne", "flower", "mailpit")
ALONE, KEPT = pathlib.Path("/alone"), pathlib.Path("/kept")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with its version; what is posted is in ``/rows`` before it does."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        text = VERSION.encode()
        self.send_response(500 if FAULT == "500" else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        """A slow answer now and then."""
        if self.path.endswith("slow"):
            time.sleep(0.3)
        self._answer()

    def do_POST(self) -> None:
        """Keep a row."""
        row = self.rfile.read(int(self.headers["Content-Length"]))
        if FAULT != "500":
            with open("/rows/kept", "ab", buffering=0) as kept:
                kept.write(row + b"\n")
        self._answer()

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


def main() -> None:
    """Run until it is ended."""
    if FAULT == "exit":
        sys.exit(3)
    if ALONE.is_dir():
        lock = (ALONE / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with (ALONE / "two").open("a") as two:
                two.write(f"{VERSION}\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        with (ALONE / "kept").open("a") as kept:
            kept.write(f"{VERSION}\n")
    if KEPT.is_dir():
        (KEPT / VERSION).touch()
    if NAME in SERVERS and FAULT != "deaf":
        http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
    while True:
        time.sleep(3600)


main()
