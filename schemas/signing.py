"""This file knows who may say what: ed25519 keys, the list of allowed ones, and the seal around a payload."""

import base64
import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from schemas.errors import SecretMissing, SettingsError, SignatureRejected
from schemas.names import check_name

MAGIC = b"UTS1"
_KEY_ID_BYTES = 8
_SIGNATURE_BYTES = 64
SEAL_BYTES = len(MAGIC) + _KEY_ID_BYTES + _SIGNATURE_BYTES

Role = Literal["gateway", "site", "enterprise", "dashboard", "releaser"]


def _key_id(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:_KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class AllowedKey:
    """A public key somebody put on the list, with whom it speaks for."""

    name: str
    role: Role
    public: bytes

    @property
    def key_id(self) -> str:
        """Sixteen hex digits that name the key in logs and manifests."""
        return _key_id(self.public).hex()


class Signer:
    """A private key that signs for one name."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._id = _key_id(self.public)

    @property
    def key_id(self) -> str:
        """Sixteen hex digits that name the key in logs and manifests."""
        return self._id.hex()

    @classmethod
    def generate(cls) -> "Signer":
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "Signer":
        """Read a key from a PEM file.

        Raises:
            SecretMissing: The file is not there, not readable, or holds no ed25519 key.
        """
        try:
            private = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise SecretMissing(
                f"signing key {path} cannot be read ({error}); enrol again or fix its rights"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise SecretMissing(f"signing key {path} is no ed25519 key; enrol again")
        return cls(private)

    def save(self, path: Path) -> None:
        """Write the key so that only its owner can read it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        path.write_bytes(self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def sign(self, content: bytes) -> bytes:
        """Sign bytes as they are; 64 bytes."""
        return self._private.sign(content)

    def seal(self, topic: str, body: bytes) -> bytes:
        """Put a signature around a payload that holds for this topic only."""
        return b"".join((MAGIC, self._id, self._private.sign(topic.encode() + b"\0" + body), body))


class KeyRing:
    """The public keys on the list; nothing else is believed."""

    def __init__(self, keys: Iterable[AllowedKey]) -> None:
        self._by_id: dict[bytes, AllowedKey] = {_key_id(key.public): key for key in keys}

    def __iter__(self) -> Iterator[AllowedKey]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    @classmethod
    def load(cls, path: Path) -> "KeyRing":
        """Read a list of keys from TOML: `[[key]]` tables with `name`, `role`, `public` (base64).

        Raises:
            SettingsError: The file is missing or a row is unusable.
        """
        try:
            rows = tomllib.loads(path.read_text())["key"]
        except KeyError:
            rows = []
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"key list {path} cannot be read: {error}") from error
        if not isinstance(rows, list):
            raise SettingsError(f"key list {path} has one value under 'key'; [[key]] tables needed")
        return cls(_key_from_row(row, path) for row in rows)

    def save(self, path: Path) -> None:
        """Write the list so that `load` reads it back."""
        rows = [
            f'[[key]]\nname = "{key.name}"\nrole = "{key.role}"\npublic = "{base64.b64encode(key.public).decode()}"\n'
            for key in self._by_id.values()
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(rows))

    def with_key(self, key: AllowedKey) -> "KeyRing":
        """Return a list with one more key; an older key of the same name and role gives way."""
        kept = [k for k in self._by_id.values() if (k.name, k.role) != (key.name, key.role)]
        return KeyRing([*kept, key])

    def without(self, name: str, role: Role) -> "KeyRing":
        """Return a list without the keys of a name in a role."""
        return KeyRing(k for k in self._by_id.values() if (k.name, k.role) != (name, role))

    def find(self, key_id: str) -> AllowedKey | None:
        """Look a key up by the sixteen hex digits that name it."""
        return self._by_id.get(bytes.fromhex(key_id))

    def open(self, topic: str, sealed: bytes, *, role: Role, name: str | None = None) -> bytes:
        """Check a seal and return the payload in it.

        Args:
            topic: Where it was said; the signature covers it.
            sealed: What `Signer.seal` made.
            role: Who must have signed.
            name: For whom the signer must speak; any name of the role if None.

        Raises:
            SignatureRejected: No seal, an unknown key, a broken signature, or the wrong speaker.
        """
        key, body = self.open_any(topic, sealed)
        if key.role != role or (name is not None and key.name != name):
            raise SignatureRejected(
                "wrong_speaker", f"{key.role} {key.name!r} signed for {topic}; {role} {name or 'any'} must"
            )
        return body

    def open_any(self, topic: str, sealed: bytes) -> tuple[AllowedKey, bytes]:
        """Check a seal of any allowed key; see `open`."""
        if len(sealed) < SEAL_BYTES or sealed[: len(MAGIC)] != MAGIC:
            raise SignatureRejected("unsigned", f"payload on {topic} carries no signature")
        key_id = sealed[len(MAGIC) : len(MAGIC) + _KEY_ID_BYTES]
        key = self._by_id.get(key_id)
        if key is None:
            raise SignatureRejected("unknown_key", f"key {key_id.hex()} on {topic} is not on the list; enrol it")
        body = sealed[SEAL_BYTES:]
        signature = sealed[len(MAGIC) + _KEY_ID_BYTES : SEAL_BYTES]
        verify(key.public, signature, topic.encode() + b"\0" + body)
        return key, body


def verify(public: bytes, signature: bytes, content: bytes) -> None:
    """Check a bare signature.

    Raises:
        SignatureRejected: It does not fit.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError) as error:
        raise SignatureRejected("bad_signature", "signature does not fit its content") from error


def _key_from_row(row: Mapping[str, str], path: Path) -> AllowedKey:
    roles: tuple[Role, ...] = ("gateway", "site", "enterprise", "dashboard", "releaser")
    try:
        role = next(r for r in roles if r == row["role"])
        public = base64.b64decode(row["public"], validate=True)
        Ed25519PublicKey.from_public_bytes(public)
        return AllowedKey(check_name(row["name"]), role, public)
    except (KeyError, StopIteration, TypeError, ValueError) as error:
        raise SettingsError(f"key list {path} has an unusable row {row}: {error}") from error
