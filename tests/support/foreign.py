"""Foreign sensors for tests: the guide's three mappings, and payloads of any length that fit them."""

import base64
import binascii
import json
import re
import struct
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_agent.foreign.mapping import ForeignSensors
from gateway_agent.foreign.settings import ForeignMapping
from tests.support.captures import AT_US, noise_g

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "foreign-sensors.md").read_text()
EXAMPLE = ROOT / "deploy" / "examples" / "foreign-sensors.toml"
DEVICE = "0004A30B001C0530"
LEVELS_TOPIC, WAVE_TOPIC, RADIO_TOPIC = (
    f"plantsense/{DEVICE}/telemetry",
    "acme/v2/pump-07/nde/waveform",
    "radio/71/packet",
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """One worked example of the guide."""

    title: str
    table: str
    topic: str
    payloads: tuple[bytes, ...]
    printed: str

    @property
    def mapping(self) -> ForeignMapping:
        (table,) = tomllib.loads(self.table)["foreign"]
        return ForeignMapping.model_validate(table)


def examples() -> dict[str, Example]:
    """The guide's worked examples by the name of their table."""
    found = {}
    for section in re.split(r"^## ", GUIDE, flags=re.MULTILINE):
        blocks = _BLOCK.findall(section)
        topic = re.search(r"^Topic `([^`]+)`", section, re.MULTILINE)
        if topic is None:
            continue
        payloads = tuple(
            bytes.fromhex(text) if kind == "hex" else text.rstrip("\n").encode()
            for kind, text in blocks if kind in {"json", "hex"}
        )  # fmt: skip
        (table,) = [text for kind, text in blocks if kind == "toml"]
        (printed,) = [text for kind, text in blocks if kind == "text"]
        example = Example(section.splitlines()[0], table, topic[1], payloads, printed)
        found[example.mapping.name] = example
    return found


def sensors_with(*mappings: ForeignMapping, max_bytes: int = 1 << 20, max_age_s: float = 10.0) -> ForeignSensors:
    """The mappings of a gateway."""
    return ForeignSensors(mappings, max_bytes=max_bytes, max_age_s=max_age_s)


def mapping_of(base: dict[str, Any], **changes: Any) -> ForeignMapping:
    """A mapping from a table, with keys replaced or (None) left out."""
    return ForeignMapping.model_validate({k: v for k, v in {**base, **changes}.items() if v is not None})


def levels_payload(number: int, velocity_mm_s: float = 2.0, **changes: Any) -> bytes:
    """What the guide's scalar-only sensor says, one a minute."""
    told = {
        "ts": AT_US // 1000 + 60_000 * number,
        "vel": {"x": velocity_mm_s / 2, "y": velocity_mm_s, "z": velocity_mm_s / 3},
        "acc": {"peak": 840}, "temp_f": 129.2, "battery_mv": 3610,
    }  # fmt: skip
    return json.dumps({**told, **changes}).encode()


def wave_signal_g(number: int, samples: int = 2048) -> NDArray[np.float64]:
    """The signal of a capture of the JSON waveform, shape (2, samples)."""
    return noise_g(number, samples=samples, channels=2)


def wave_payload(number: int, *, restarts: int = 12, samples: int = 2048, **changes: Any) -> bytes:
    """What the guide's JSON waveform sensor says."""
    x, y = (wave_signal_g(number, samples) * 9.80665).tolist()
    told = {
        "at": f"2025-03-02T{number // 60 % 24:02}:{number % 60:02}:00Z", "device": {"restarts": restarts, "n": number},
        "rate_khz": 12.0, "shaft_hz": 24.6, "data": [{"values": x}, {"values": y}],
    }  # fmt: skip
    return json.dumps({**told, **changes}).encode()


def radio_packets(number: int, *, samples: int = 1024, piece_bytes: int = 800) -> list[bytes]:
    """What the guide's radio sensor says: packets of one message."""
    counts = np.round(noise_g(number, samples=samples, channels=3) / 0.000244).astype(">i2")
    body = struct.pack(">IHhf", AT_US // 1_000_000 + number, 12_000, 4150, 0.244) + counts.T.tobytes()
    body += struct.pack(">I", zlib.crc32(body))
    pieces = [body[start : start + piece_bytes] for start in range(0, len(body), piece_bytes)]
    packets = (struct.pack(">HBB", number & 0xFFFF, i, len(pieces)) + piece for i, piece in enumerate(pieces, 1))
    return [packet + struct.pack(">H", binascii.crc_hqx(packet, 0xFFFF)) for packet in packets]


def base64_of(samples: NDArray[Any], kind: str) -> str:
    """Samples as text."""
    return base64.b64encode(samples.astype(kind).tobytes()).decode()
