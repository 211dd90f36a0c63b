# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a command in a container prints, however busy the machine is."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

#: Of each part of both streams: which one it is of, and how many bytes follow (the engine's API, "Attach to a container").
_HEADER = struct.Struct(">BxxxL")
_ERRORS = 2
#: Bytes that are taken of what one command prints: a container that somebody has broken into prints for ever.
LIMIT = 64 * 1024 * 1024
TOO_MUCH = f"it printed more than {LIMIT // 2**20} MiB"


def streams_of(api: Any, exec_id: str) -> tuple[bytes, bytes]:
    """Run a prepared command to its end; returns its output and its error output.

    ``APIClient.exec_start`` reads from the bare socket, where what the engine has sent together with the headers is missing:
    Python's buffer above it has that. On a busy machine 7 of 600 short commands came back without a word, with exit code 0
    (docker-py#2042). So this asks for no upgrade, and reads the answer to its end like any other.

    :param api: a ``docker.APIClient``, which is a ``requests.Session``.
    :raises requests.exceptions.RequestException: the engine cannot be asked.
    :raises OSError: it refused to run it, or the connection ended in the middle of what it printed.
    """
    address = f"{api.base_url}/v{api.api_version}/exec/{exec_id}/start"
    # It may run for as long as it likes: whoever waits for it has a bound of its own.
    with api.post(address, json={"Tty": False, "Detach": False}, stream=True, timeout=None) as answer:
        if answer.status_code >= 400:
            raise OSError(_complaint(answer))
        content = bytearray()
        for part in answer.iter_content(65536):
            content += part
            if len(content) > LIMIT:
                raise OSError(TOO_MUCH)
        return apart(bytes(content))


def _complaint(answer: Any) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"the engine answered {answer.status_code} {answer.reason}"


def apart(content: bytes) -> tuple[bytes, bytes]:
    """The two streams of an answer that has both.

    :raises OSError: it ends in the middle of a part.
    """
    streams: tuple[list[bytes], list[bytes]] = ([], [])
    start = 0
    while start < len(content):
        body = start + _HEADER.size
        if body > len(content):
            raise OSError("the engine did not send all that the command printed")
        kind, length = _HEADER.unpack_from(content, start)
        start = body + length
        if start > len(content):
            raise OSError("the engine did not send all that the command printed")
        streams[kind == _ERRORS].append(content[body:start])
    return b"".join(streams[0]), b"".join(streams[1])


def bounded(parts: Iterable[tuple[bytes | None, bytes | None]]) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Both streams as they come, until they have more than ``LIMIT`` bytes."""
    size = 0
    for part in parts:
        yield part
        size += sum(len(text or b"") for text in part)
        if size > LIMIT:
            return
