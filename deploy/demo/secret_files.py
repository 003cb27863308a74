"""This file knows the secrets of the demonstration: made at its first start, each in a file for its owner alone."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from dashboard.api.callers import TOKEN_PREFIX
from schemas.settings import read_secret

ADMIN = "Ada"


@dataclass(frozen=True, slots=True)
class SignIn:
    """Who signs in to the pages, and with what."""

    name: str
    password: str


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only whoever started the demonstration knows; each in a file of its own that only they can read.

    Attributes:
        password: Of all people.
        token_file: Holds the word by which programs use the interface, as Emil.
        token: The same word.
    """

    password: str
    token_file: Path
    token: str

    @classmethod
    def kept_in(cls, folder: Path) -> "Secrets":
        """Those of a folder; made at the first start."""
        token_file = folder / "programs.token"
        token = kept_secret(token_file, TOKEN_PREFIX + secrets.token_urlsafe(24))
        return cls(kept_secret(folder / "people.password", easy_password()), token_file, token)

    @property
    def admin(self) -> SignIn:
        """As whom a visitor sees everything."""
        return SignIn(ADMIN, self.password)


def kept_secret(path: Path, fresh: str) -> str:
    """Read a secret; where there is none yet, write a fresh one, for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_secret(path)
    with os.fdopen(handle, "w") as file:
        file.write(fresh + "\n")
    return read_secret(path)


def easy_password() -> str:
    """Eight random syllables, 50 bits: can be typed on a phone; ten wrong ones in a row lock the door for a while."""
    syllables = [secrets.choice("bdfghklmnprstvwz") + secrets.choice("aeiou") for _ in range(8)]
    return "-".join("".join(syllables[first : first + 2]) for first in range(0, 8, 2))
