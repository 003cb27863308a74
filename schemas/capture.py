"""This file knows how a sensor writes one capture into bytes, and refuses everything that is none.

Little-endian:

    magic "UC" | version u8 | flags u8 | boot u64 | sequence u64 | measured_at_us i64 | sample_rate_hz f64 |
    channels u8 | samples u32 | range_g f32 | rpm f32 | load f32 | temperature_c f32 | battery_v f32 |
    rssi_dbm f32 (version 2 alone) |
    scale_g f64 x channels | counts i16 x channels x samples (channel after channel) | crc32 u32 of all before

NaN stands for "not known" in rpm, load, temperature and battery. Physical value = counts * scale_g. Version 2 is what a
sensor writes that tells the strength of its radio signal; without it version 1, which every gateway reads.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from schemas.errors import CaptureRejected

MAGIC = b"UC"
_HEAD = struct.Struct("<2sBBQQqdBIfffff")
_RSSI = struct.Struct("<f")
VERSIONS = {1: _HEAD.size, 2: _HEAD.size + _RSSI.size}
"""Version -> bytes before the scales."""
_CRC = struct.Struct("<I")
MAX_CHANNELS = 8
MAX_SAMPLES = 1 << 20  # 41 s at 25.6 kHz; a longer recording is several captures
MAX_BYTES = VERSIONS[2] + 8 * MAX_CHANNELS + 2 * MAX_CHANNELS * MAX_SAMPLES + _CRC.size
MAX_SAMPLE_RATE_HZ = 1e6
MIN_SAMPLES = 32  # below that no spectrum means anything
_EARLIEST_US = 946_684_800_000_000  # 2000-01-01: a sensor whose clock has stopped says 1970
_LATEST_US = 4_102_444_800_000_000  # 2100-01-01
MAX_SEQUENCE = (1 << 63) - 1  # of a boot as well: databases count to here
RSSI_DBM = (-200.0, 30.0)  # no receiver hears less, no sensor of a plant sends more
MIN_SCALE_G, MAX_SCALE_G = 1e-12, 1e3


class CaptureFlag(IntFlag):
    """What a sensor says about its own capture."""

    NONE = 0
    CLOCK_UNSURE = 1
    LOW_BATTERY = 2
    KEPT_UNTIL_ACK = 4
    """The sensor keeps the capture until the gateway's acknowledgement names it."""


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """One measurement of one sensor, as it crossed the air.

    Attributes:
        boot: Random at each start of the sensor; with `sequence` it names the capture for ever.
        sequence: Counts up by one a capture from 0 at each boot.
        measured_at_us: Start of the capture, microseconds since 1970 UTC by the sensor's clock.
        sample_rate_hz: Samples a second, the same for all channels.
        counts: Raw samples, int16, shape (channels, samples).
        scale_g: g per count, shape (channels,).
        range_g: What the sensor can measure at most, g.
        rpm: Shaft speed if the sensor knows it, else NaN.
        load: Share of nominal load if known, else NaN.
        temperature_c: Housing temperature if measured, else NaN.
        battery_v: Battery voltage if there is one, else NaN.
        flags: What the sensor says about itself.
        rssi_dbm: Strength of its radio signal in dBm if it has one, else NaN.
    """

    boot: int
    sequence: int
    measured_at_us: int
    sample_rate_hz: float
    counts: NDArray[np.int16]
    scale_g: NDArray[np.float64]
    range_g: float = math.nan
    rpm: float = math.nan
    load: float = math.nan
    temperature_c: float = math.nan
    battery_v: float = math.nan
    flags: CaptureFlag = CaptureFlag.NONE
    rssi_dbm: float = math.nan

    @property
    def channels(self) -> int:
        """How many axes."""
        return int(self.counts.shape[0])

    @property
    def samples(self) -> int:
        """How many samples an axis."""
        return int(self.counts.shape[1])

    def acceleration_g(self) -> NDArray[np.float64]:
        """Physical values in g, shape (channels, samples)."""
        return self.counts * self.scale_g[:, None]


def encode_capture(capture: Capture) -> bytes:
    """Write a capture; `decode_capture` gives it back bit for bit.

    Raises:
        CaptureRejected: The capture itself breaks a limit of the format.
    """
    with_rssi = not math.isnan(capture.rssi_dbm)
    body = b"".join(
        (
            _HEAD.pack(
                MAGIC, 2 if with_rssi else 1, int(capture.flags), capture.boot, capture.sequence,
                capture.measured_at_us, capture.sample_rate_hz, capture.channels, capture.samples, capture.range_g,
                capture.rpm, capture.load, capture.temperature_c, capture.battery_v,
            ),
            _RSSI.pack(capture.rssi_dbm) if with_rssi else b"",
            np.ascontiguousarray(capture.scale_g, "<f8").tobytes(),
            np.ascontiguousarray(capture.counts, "<i2").tobytes(),
        )
    )  # fmt: skip
    encoded = body + _CRC.pack(zlib.crc32(body))
    decode_capture(encoded)
    return encoded


def decode_capture(encoded: bytes | memoryview) -> Capture:
    """Read a capture; its samples are a view on `encoded`.

    Raises:
        CaptureRejected: With `reason` one of truncated, oversized, bad_magic, unknown_version, bad_length,
            bad_crc, impossible_shape, impossible_rate, impossible_scale, impossible_time, impossible_value.
    """
    size = len(encoded)
    if size < _HEAD.size + _CRC.size:
        raise CaptureRejected("truncated", f"capture has {size} bytes, its header alone has {_HEAD.size}")
    if size > MAX_BYTES:
        raise CaptureRejected("oversized", f"capture has {size} bytes, {MAX_BYTES} allowed; split the recording")
    (magic, version, flags, boot, sequence, measured_at_us, rate, channels, samples, range_g, rpm, load,
     temperature_c, battery_v) = _HEAD.unpack_from(encoded)  # fmt: skip
    if magic != MAGIC:
        raise CaptureRejected("bad_magic", f"payload starts with {magic!r}, a capture with {MAGIC!r}")
    if version not in VERSIONS:
        raise CaptureRejected(
            "unknown_version", f"capture version {version} found, up to {max(VERSIONS)} read; update the gateway"
        )
    if not (1 <= channels <= MAX_CHANNELS and MIN_SAMPLES <= samples <= MAX_SAMPLES):
        raise CaptureRejected(
            "impossible_shape",
            f"{channels} channels of {samples} samples found; "
            f"1 to {MAX_CHANNELS} of {MIN_SAMPLES} to {MAX_SAMPLES} allowed",
        )
    scale_at = VERSIONS[version]
    counts_at = scale_at + 8 * channels
    crc_at = counts_at + 2 * channels * samples
    if size != crc_at + _CRC.size:
        reason = "truncated" if size < crc_at + _CRC.size else "bad_length"
        raise CaptureRejected(reason, f"capture has {size} bytes, its header promises {crc_at + _CRC.size}")
    if zlib.crc32(memoryview(encoded)[:crc_at]) != _CRC.unpack_from(encoded, crc_at)[0]:
        raise CaptureRejected("bad_crc", "checksum does not fit; the capture changed on its way")
    scale_g = np.frombuffer(encoded, "<f8", channels, scale_at)
    rssi_dbm = math.nan if version == 1 else _RSSI.unpack_from(encoded, _HEAD.size)[0]
    optional = (range_g, rpm, load, temperature_c, battery_v, rssi_dbm)
    _check_values(rate, scale_g, measured_at_us, max(boot, sequence), optional)
    counts = np.frombuffer(encoded, "<i2", channels * samples, counts_at).reshape(channels, samples)
    return Capture(
        boot, sequence, measured_at_us, rate, counts, scale_g, range_g, rpm, load, temperature_c, battery_v,
        CaptureFlag(flags & 7), rssi_dbm,
    )  # fmt: skip


def _check_values(
    rate: float, scale_g: NDArray[np.float64], measured_at_us: int, largest_number: int, optional: tuple[float, ...]
) -> None:
    if not 0.1 <= rate <= MAX_SAMPLE_RATE_HZ:  # also refuses NaN
        raise CaptureRejected(
            "impossible_rate", f"{rate} samples a second found, 0.1 to {MAX_SAMPLE_RATE_HZ:g} allowed"
        )
    if not ((scale_g >= MIN_SCALE_G) & (scale_g < MAX_SCALE_G)).all():  # also refuses NaN
        raise CaptureRejected(
            "impossible_scale",
            f"scale {scale_g.tolist()} g a count found; {MIN_SCALE_G:g} to below {MAX_SCALE_G:g} allowed",
        )
    if not _EARLIEST_US <= measured_at_us < _LATEST_US:
        raise CaptureRejected(
            "impossible_time", f"time {measured_at_us} us found, years 2000 to 2099 allowed; set the clock"
        )
    if largest_number > MAX_SEQUENCE:
        raise CaptureRejected(
            "impossible_value", f"boot or sequence {largest_number} found, at most {MAX_SEQUENCE} allowed"
        )
    range_g, rpm, load, temperature_c, battery_v, rssi_dbm = optional
    limits = {
        "range_g": (range_g, 0.0, 1e6), "rpm": (rpm, 0.0, 1e6), "load": (load, -1e6, 1e6),
        "temperature_c": (temperature_c, -273.15, 2000.0), "battery_v": (battery_v, 0.0, 1e3),
        "rssi_dbm": (rssi_dbm, *RSSI_DBM),
    }  # fmt: skip
    for name, (value, low, high) in limits.items():
        if not math.isnan(value) and not low <= value <= high:
            raise CaptureRejected("impossible_value", f"{name} {value} found, {low} to {high} or NaN allowed")
