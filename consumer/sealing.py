"""Sealing: secrets are encrypted before they touch Postgres.

A sealed secret is a Fernet token around the secret and what it is for, so that one that is
copied to another district's row, or from key to secret, does not open there.
"""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from consumer.errors import UsageError

_KEY_BYTES: Final = 32
_FIX: Final = "one URL-safe base64 key of 32 bytes, as 'passback secrets new-key' prints"


class _Envelope(msgspec.Struct, array_like=True, frozen=True):
    district_id: str
    what: str
    plaintext: bytes


_READ: Final = msgspec.msgpack.Decoder(_Envelope)


class SealingKeys:
    """The keys of one file: the first seals, all open.

    ``what`` says which of a district's secrets it is, such as ``key`` or ``secret``.
    """

    def __init__(self, keys: list[str]) -> None:
        """``keys`` are valid Fernet keys, at least one; the first seals."""
        self._fernet: Final = MultiFernet([Fernet(key) for key in keys])
        first = base64.urlsafe_b64decode(keys[0])
        self.log_key: Final = hmac.digest(first, b"passback students in logs", hashlib.sha256)
        """The key of ``log.hash_students``: of this installation alone, and a new one when the
        first key changes, so that what was logged before cannot be told apart for ever."""

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """One key a line, blank lines apart; raises ``UsageError`` naming the line."""
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            raise UsageError(
                f"the sealing key file {path} cannot be read: {error.strerror}"
            ) from None
        except UnicodeDecodeError:
            raise UsageError(f"the sealing key file {path} holds no text; give {_FIX}") from None
        keys = []
        for number, line in enumerate(lines, start=1):
            if key := line.strip():
                if not _is_key(key):
                    raise UsageError(f"the sealing key file {path} line {number} is not {_FIX}")
                keys.append(key)
        if not keys:
            raise UsageError(f"the sealing key file {path} holds no key; give {_FIX}")
        return cls(keys)

    def seal(self, district_id: str, what: str, plaintext: bytes) -> bytes:
        """Seals with the first key; each call gives other bytes."""
        return self._fernet.encrypt(msgspec.msgpack.encode(_Envelope(district_id, what, plaintext)))

    def open(self, district_id: str, what: str, sealed: bytes) -> bytes:
        """Raises ``UsageError`` where no key opens it, or it was sealed for something else."""
        try:
            content = self._fernet.decrypt(sealed)
        except InvalidToken:
            raise UsageError(
                f"no sealing key opens the {what} of district {district_id};"
                " add the key that sealed it to the key file, or apply the district again"
            ) from None
        try:
            envelope = _READ.decode(content)
        except msgspec.MsgspecError:
            envelope = None
        if envelope is None or (envelope.district_id, envelope.what) != (district_id, what):
            raise UsageError(
                f"the stored {what} of district {district_id} was sealed for something else;"
                " apply the district again"
            )
        return envelope.plaintext

    def rotate(self, district_id: str, what: str, sealed: bytes) -> bytes:
        """The same secret sealed with the first key; raises what ``open`` raises."""
        return self.seal(district_id, what, self.open(district_id, what, sealed))


def new_key() -> str:
    """A fresh key, as one line of the key file."""
    return Fernet.generate_key().decode()


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, altchars=b"-_", validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
