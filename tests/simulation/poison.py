"""This file knows payloads that are no captures: each of them must be counted, and none may stop anything."""

import random

from schemas.fragments import Fragment, encode_fragment


def draw_poison(draw: random.Random, capture: bytes) -> bytes:
    """Spoil a capture in one of the ways that were seen or thought of."""
    at = draw.randrange(len(capture))
    return draw.choice((
        b"",
        b"{" + draw.randbytes(20),
        draw.randbytes(draw.randint(1, 300)),
        capture[:at],
        capture + b"\0" * draw.randint(1, 9),
        capture[:at] + bytes([capture[at] ^ 1 << draw.randrange(8)]) + capture[at + 1 :],
        encode_fragment(Fragment(1, 1, 0, 9, 400, capture[:40])),
    ))  # fmt: skip
