"""This file knows how passwords are judged and hashed: length counts, and that it is none of those tried first."""

import threading
from functools import cache
from importlib import resources

import argon2

MIN_LENGTH, MAX_LENGTH = 12, 256
AT_ONCE = 2  # hashes in hand; each takes 64 MiB, the others wait
_AROUND = " 0123456789!?@#$%&*+-_.,;:/"  # what is put before and behind such a word to please a rule
_hasher = argon2.PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
_room = threading.Semaphore(AT_ONCE)


class PasswordRefused(Exception):
    """A password that nobody should have; the message is English for `tr`, without values."""


def require_good(password: str, name: str) -> None:
    """Return when a password may be used.

    No rule asks for digits or signs: NIST SP 800-63B, 5.1.1.2 counts length and refuses what is tried first. Nearly
    all of the commonest passwords are shorter than `MIN_LENGTH`; those that are not are such a word, or a row of keys,
    once or twice, with digits and signs around.

    Raises:
        PasswordRefused: It is too short, too long, too simple, the name, or among the commonest.
    """
    if len(password) < MIN_LENGTH:
        raise PasswordRefused("A password has 12 characters at least; four words that do not belong together are good.")
    if len(password) > MAX_LENGTH:
        raise PasswordRefused("A password has 256 characters at most.")
    plain = password.casefold()
    core = plain.strip(_AROUND)
    if len(set(plain)) < 5 or _is_repeated(plain) or not core or {core, _half(core)} & _first_tried():
        raise PasswordRefused("This password is among those that are tried first.")
    if len(name) >= 4 and plain.replace(name.casefold(), "").strip(_AROUND) == "":
        raise PasswordRefused("Your name is no password.")


def hash_password(password: str) -> str:
    """Hash a password; takes about a tenth of a second on purpose."""
    with _room:
        return _hasher.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Tell whether a password is the one of a hash; takes as long without a hash, so that names cannot be found out."""
    try:
        with _room:
            return _hasher.verify(password_hash or _nobodys(), password[:MAX_LENGTH]) and password_hash is not None
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody has this password")


@cache
def _first_tried() -> frozenset[str]:
    return frozenset(resources.files("dashboard").joinpath("first_tried_passwords.csv").read_text("utf-8").split())


def _half(text: str) -> str:
    half = text[: len(text) // 2]
    return half if half + half == text else ""


def _is_repeated(plain: str) -> bool:
    """Tell whether a text is one part over and over, such as "abcabcabcabc"."""
    return plain in (plain + plain)[1:-1]
