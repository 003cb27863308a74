"""How a good message becomes a hostile one: bits, lengths, cuts and splices, and in JSON a value nobody expects.

Randomness comes in: the same source gives the same bytes.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

MOST_CHANGES = 4
MAX_BYTES = 1 << 16
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 63,
            (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip
_HERE = "put-the-hostile-value-here"
HOSTILE_JSON = (
    "0", "-1", "1", "1.5", "9007199254740993", "9223372036854775808", "18446744073709551616", "1" * 400, "9" * 5000,
    "1e308", "1e999", "-1e999", "1e-400", "NaN", "Infinity", "-Infinity", "null", "true", '""', '"a"', '"\\u0000"',
    '"\\ud800"', f'"{"a" * 5000}"', "[]", "{}", "[null]", '{"":{}}', f"[{'0,' * 3000}0]", f"[{'{},' * 3000}0]",
    f"[{','.join(['4096'] * 40)}]", "[0,-1]", "[67108864,67108864,67108864]", "[" * 150 + "]" * 150, "[" * 20_000,
    '{"a":' * 20_000, "{" + ",".join(f'"k{i}":0' for i in range(3000)) + "}",
)  # fmt: skip
"""Values for any place: beyond integers and floats, no numbers, half a character, too deep, too many, too long."""


def mutated(content: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Change a message in one to four places.

    Args:
        content: A message that can be read.
        others: More of them, to splice with.
        random: Where the choice comes from.
    """
    for _ in range(random.randint(1, MOST_CHANGES)):
        change = random.choice(_CHANGES)
        content = change(content, random) if random.randrange(8) else _spliced(content, random.choice(others), random)
    return content[:MAX_BYTES]


def _flipped(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) or 1)
    return content[:at] + bytes([(content[at : at + 1] or b"\0")[0] ^ 1 << random.randrange(8)]) + content[at + 1 :]


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _without_a_part(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + content[at + random.randrange(1, 9) :]


def _with_a_part_twice(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) + 1)
    part = content[at : at + random.randrange(1, 65)]
    return content[:at] + part * random.choice((2, 3, 50)) + content[at + len(part) :]


def _with_noise(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + random.randbytes(random.randrange(1, 17)) + content[at + random.choice((0, 4)) :]


def _with_an_extreme(content: bytes, random: Random) -> bytes:
    """Where a length, a count or a version may stand; most of them stand in the first hundred bytes."""
    at = random.randrange((min(len(content), 100) if random.randrange(2) else len(content)) + 1)
    width = random.choice((1, 2, 4, 8))
    number = random.choice((*EXTREMES, len(content), max(0, len(content) - 1), len(content) + 1))
    written = (number & (1 << 8 * width) - 1).to_bytes(width, random.choice(("little", "big")))
    return content[:at] + written + content[at + width :]


def _with_a_hostile_value(content: bytes, random: Random) -> bytes:
    """In one of the lines that are JSON; where there is none, as `_with_an_extreme`."""
    lines = content.split(b"\n")
    trees = {at: tree for at, line in enumerate(lines) if (tree := _tree_of(line)) is not None}
    if not trees:
        return _with_an_extreme(content, random)
    at = random.choice(list(trees))
    tree = trees[at]
    holder, key = random.choice(list(_places(tree)))
    match random.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[random.choice((_HERE, str(key) * 2, "a" * 5000))] = holder.pop(key)
        case 2 if isinstance(holder, list):
            holder.extend(holder * random.choice((1, 40)))
        case _:
            holder[key] = _HERE
    text = json.dumps(tree, separators=(",", ":"))
    lines[at] = text.replace(f'"{_HERE}"', random.choice(HOSTILE_JSON)).encode()
    return b"\n".join(lines)


def _tree_of(line: bytes) -> Any:
    """The JSON of a line that has something to change; None for anything else."""
    if line[:1] not in {b"{", b"["}:
        return None
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return tree or None


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _spliced(content: bytes, other: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]


_CHANGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flipped, _cut, _without_a_part, _with_a_part_twice, _with_noise, _with_an_extreme, _with_an_extreme,
    _with_a_hostile_value, _with_a_hostile_value, _with_a_hostile_value,
)  # fmt: skip
