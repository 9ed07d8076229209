"""Sealing: what is sealed opens only with its keys, and only where it belongs."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from consumer.errors import UsageError
from consumer.sealing import SealingKeys, new_key


def keys_in(path: Path, *lines: str) -> SealingKeys:
    path.write_text("\n".join(lines) + "\n")
    return SealingKeys.from_file(path)


def test_what_was_sealed_opens() -> None:
    keys = SealingKeys([new_key()])
    sealed = keys.seal("lakeside", "secret", b"swordfish \x00\xff")
    assert b"swordfish" not in sealed
    assert keys.open("lakeside", "secret", sealed) == b"swordfish \x00\xff"


def test_the_same_secret_never_looks_the_same() -> None:
    keys = SealingKeys([new_key()])
    assert keys.seal("lakeside", "key", b"x") != keys.seal("lakeside", "key", b"x")


@pytest.mark.parametrize(("district", "what"), [("hillside", "secret"), ("lakeside", "key")])
def test_a_secret_opens_only_for_its_district_and_kind(district: str, what: str) -> None:
    keys = SealingKeys([new_key()])
    sealed = keys.seal("lakeside", "secret", b"swordfish")
    with pytest.raises(UsageError, match="sealed for something else"):
        keys.open(district, what, sealed)


def test_the_first_key_seals_and_all_open(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    sealed = SealingKeys([old]).seal("lakeside", "key", b"x")
    both = keys_in(tmp_path / "keys", new, "", f"  {old}  ")
    assert both.open("lakeside", "key", sealed) == b"x"
    with pytest.raises(UsageError):
        SealingKeys([old]).open("lakeside", "key", both.seal("lakeside", "key", b"x"))


def test_what_was_rotated_no_longer_needs_the_old_key() -> None:
    old, new = new_key(), new_key()
    sealed = SealingKeys([old]).seal("lakeside", "key", b"x")
    rotated = SealingKeys([new, old]).rotate("lakeside", "key", sealed)
    assert SealingKeys([new]).open("lakeside", "key", rotated) == b"x"


def test_a_secret_that_no_key_opens_is_named_and_told_what_to_do() -> None:
    sealed = SealingKeys([new_key()]).seal("lakeside", "secret", b"swordfish")
    with pytest.raises(UsageError, match="no sealing key opens the secret of district lakeside"):
        SealingKeys([new_key()]).open("lakeside", "secret", sealed)


@pytest.mark.parametrize("damaged", [b"", b"nonsense", b"\xff" * 100])
def test_damaged_bytes_open_with_no_key(damaged: bytes) -> None:
    with pytest.raises(UsageError, match="no sealing key opens"):
        SealingKeys([new_key()]).open("lakeside", "secret", damaged)


def test_a_token_without_our_envelope_is_refused() -> None:
    key = new_key()
    with pytest.raises(UsageError, match="sealed for something else"):
        SealingKeys([key]).open("lakeside", "secret", Fernet(key).encrypt(b"swordfish"))


@pytest.mark.parametrize("wrong", ["short", "!" * 44, new_key()[:-2], new_key() + "A", "ключ"])
def test_a_malformed_line_is_named_by_its_number_and_never_shown(
    wrong: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="line 3 is not one URL-safe base64 key") as raised:
        keys_in(tmp_path / "keys", new_key(), "", wrong)
    assert wrong not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_empty_or_absent_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no key"):
        keys_in(tmp_path / "keys")
    with pytest.raises(UsageError, match="cannot be read"):
        SealingKeys.from_file(tmp_path / "absent")


def test_the_key_of_the_logs_is_not_a_sealing_key() -> None:
    key = new_key()
    assert SealingKeys([key]).log_key == SealingKeys([key, new_key()]).log_key
    assert SealingKeys([key]).log_key != SealingKeys([new_key()]).log_key
    assert len(SealingKeys([key]).log_key) == 32
