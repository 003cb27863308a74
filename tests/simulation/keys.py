"""This file knows the keys of a simulated plant: made from names, so that every seal is the same again."""

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.signing import AllowedKey, KeyRing, Signer

SITE = "plant-a"


@cache
def signer_of(name: str) -> Signer:
    """The key of one party."""
    return Signer(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


@cache
def ring(gateways: int) -> KeyRing:
    """The list of allowed keys: the site and its gateways."""
    keys = [AllowedKey(SITE, "site", signer_of(SITE).public)]
    keys += [AllowedKey(name, "gateway", signer_of(name).public) for name in names(gateways)]
    return KeyRing(keys)


def names(gateways: int) -> list[str]:
    """The names of the gateways."""
    return [f"gw-{number:02d}" for number in range(1, gateways + 1)]
