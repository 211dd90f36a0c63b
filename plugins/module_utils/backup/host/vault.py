# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption as Ansible Vault does it (format 1.1, AES256): what is small, and is decrypted by ``ansible-vault`` where its password is."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Any

from ...base.errors import BadInput
from .summary import BackupFailed

try:
    from cryptography.hazmat.backends import default_backend
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

_HEADER = b"$ANSIBLE_VAULT;1.1;AES256"
_LINE, _ROUNDS, _BLOCK = 80, 10000, 16
#: Bytes at most: the format has its checksum before what it is of, so all of it is held in memory, several times.
MOST = 16 * 1024 * 1024


def refuse_without_cryptography(password: str) -> None:
    """Look whether something can be encrypted with this password.

    :raises BadInput: it cannot.
    """
    if password and not HAS_CRYPTOGRAPHY:
        raise BadInput(
            "the Python library cryptography is not on this host, so nothing can be encrypted as Ansible Vault does",
            "install the package python3-cryptography, or encrypt with age (encrypt_to)",
        )


class Vaulted:
    """Something to write to, which is handed on encrypted when the block ends well.

    :raises BackupFailed: it is too much for this format.
    """

    def __init__(self, password: str, sink: Callable[[bytes], None]) -> None:
        self._password, self._sink, self._held = password, sink, bytearray()

    def __enter__(self) -> Vaulted:
        return self

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            self._sink(sealed(bytes(self._held), self._password))

    def write(self, data: bytes) -> int:
        """Give it more."""
        if len(self._held) + len(data) > MOST:
            raise BackupFailed(
                f"more than {MOST // 2**20} MiB are too much for Ansible Vault", "encrypt with age (encrypt_to)"
            )
        self._held += data
        return len(data)


def sealed(data: bytes, password: str) -> bytes:
    """What ``ansible-vault decrypt`` makes ``data`` of."""
    salt = os.urandom(32)
    key, checked_by, start = _keys(password, salt)
    missing = _BLOCK - len(data) % _BLOCK
    cipher = _crossed(data + bytes([missing]) * missing, key, start)
    parts = (salt, hmac.new(checked_by, cipher, hashlib.sha256).digest(), cipher)
    text = binascii.hexlify(b"\n".join(binascii.hexlify(part) for part in parts))
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return b"\n".join([_HEADER, *lines, b""])


def opened(text: bytes, password: str) -> bytes:
    """The data again.

    :raises ValueError: it is not what was written, or the password is another one.
    """
    header, _newline, body = text.partition(b"\n")
    salt, noted, cipher = (binascii.unhexlify(part) for part in binascii.unhexlify(b"".join(body.split())).split(b"\n"))
    key, checked_by, start = _keys(password, salt)
    if header != _HEADER or not hmac.compare_digest(noted, hmac.new(checked_by, cipher, hashlib.sha256).digest()):
        raise ValueError("it is not what was written")
    padded = _crossed(cipher, key, start)
    return padded[: -padded[-1]]


def _keys(password: str, salt: bytes) -> tuple[bytes, bytes, bytes]:
    """For the cipher, for the checksum, and where the cipher starts to count."""
    made = hashlib.pbkdf2_hmac("sha256", password.strip().encode(), salt, _ROUNDS, 80)
    return made[:32], made[32:64], made[64:]


def _crossed(data: bytes, key: bytes, start: bytes) -> bytes:
    """The same in either direction."""
    one = Cipher(algorithms.AES(key), modes.CTR(start), backend=default_backend()).encryptor()
    return bytes(one.update(data) + one.finalize())
