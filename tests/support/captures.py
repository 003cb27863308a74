"""Captures, recordings and scores for tests of the gateway: small, of known content, the same for the same seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_agent.intake import Taken
from gateway_agent.judge import Judge
from gateway_agent.settings import AlarmSettings, CommissioningSettings, GatewaySettings
from schemas.capture import Capture, CaptureFlag, encode_capture
from schemas.nameplate import BearingPlate, Nameplate
from schemas.settings import BrokerSettings

AT_US = 1_700_000_000_000_000
RATE_HZ = 12_000.0
SAMPLES = 2048
POINT = "pump-07/de"
COUNTS_A_G = 4000
RPM = 1797.0
ORDERS_6205 = {"outer": 3.5848, "inner": 5.4152}


def noise_g(seed: int, *, samples: int = SAMPLES, channels: int = 1, level_g: float = 0.1) -> NDArray[np.float64]:
    """A healthy machine: broad-band noise and the shaft's line."""
    rng = np.random.default_rng(seed)
    turn = np.sin(2 * np.pi * RPM / 60 * np.arange(samples) / RATE_HZ + rng.uniform(0, 6))
    signal: NDArray[np.float64] = rng.standard_normal((channels, samples)) * level_g + 0.3 * level_g * turn
    return signal


def impacts_g(
    order: float, seed: int, *, samples: int = 1 << 14, rate_hz: float = 24_000.0, modulated: bool = False,
    peak_g: float = 2.0, slip: float = 0.01,
) -> NDArray[np.float64]:  # fmt: skip
    """A damaged race: impacts whose spacing walks at random, ringing at 4 kHz, over noise."""
    rng = np.random.default_rng(seed)
    shaft_hz = RPM / 60
    mean_s = 1.0 / (order * shaft_hz)
    spacing_s = mean_s * (1.0 + slip * rng.standard_normal(int(samples / rate_hz / mean_s) + 8))
    at_s = np.cumsum(spacing_s)
    signal = 0.1 * rng.standard_normal(samples)
    ring_s = np.arange(int(0.004 * rate_hz)) / rate_hz
    for start_s in at_s:
        first = int(start_s * rate_hz)
        if first >= samples:
            break
        strength = peak_g * (1.0 + 0.9 * np.cos(2 * np.pi * shaft_hz * start_s) if modulated else 1.0)
        ring = strength * np.exp(-ring_s * 1200.0) * np.sin(2 * np.pi * 4000.0 * ring_s)
        part = signal[first : first + ring.size]
        part += ring[: part.size]
    return signal[None]


def capture_of(
    signal_g: NDArray[np.float64], sequence: int = 0, *, boot: int = 1, rate_hz: float = RATE_HZ, rpm: float = RPM,
    flags: CaptureFlag = CaptureFlag.NONE, measured_at_us: int | None = None,
) -> Capture:  # fmt: skip
    """Write a signal in g, shape (channels, samples), as a sensor would."""
    counts = np.clip(np.round(signal_g * COUNTS_A_G), -32768, 32767).astype(np.int16)
    at_us = AT_US + 1_000_000 * sequence if measured_at_us is None else measured_at_us
    return Capture(
        boot, sequence, at_us, rate_hz, counts, np.full(len(counts), 1 / COUNTS_A_G), rpm=rpm, flags=flags
    )  # fmt: skip


def healthy(sequence: int, **more: Any) -> Capture:
    """The capture of a healthy machine with this sequence."""
    return capture_of(noise_g(sequence), sequence, **more)


def faulty(sequence: int, **more: Any) -> Capture:
    """Of a machine whose spectrum has risen twentyfold in its upper half."""
    signal = noise_g(sequence)
    signal[:, 1:] += 20 * np.diff(noise_g(sequence + 10_000), axis=1)
    return capture_of(np.clip(signal, -7.9, 7.9), sequence, **more)


def stuck(sequence: int, **more: Any) -> Capture:
    """Of a sensor that says the same number for ever."""
    return capture_of(np.full((1, SAMPLES), 0.5), sequence, **more)


def saturated(sequence: int, **more: Any) -> Capture:
    """Of a sensor that is overdriven."""
    return capture_of(np.clip(noise_g(sequence) * 10, -0.5, 0.5), sequence, **more)


def taken(capture: Capture, *, point: str = POINT, raw: bytes | None = None) -> Taken:
    """A capture as the intake hands it on."""
    return Taken(point, capture, encode_capture(capture) if raw is None else raw, capture.measured_at_us)


def gateway_settings(
    *, captures: int = 8, alarm: AlarmSettings | None = None, machines: Sequence[Nameplate] | None = None,
    false_alarm_rate: float = 0.01,
) -> GatewaySettings:  # fmt: skip
    """Settings of a gateway with one pump that has a 6205."""
    plates = (
        (Nameplate(machine="pump-07", rpm=RPM, bearing=BearingPlate(name="6205")),) if machines is None else machines
    )
    return GatewaySettings(
        site="plant-a", gateway="gw-1", broker=BrokerSettings(allow_anonymous=True),
        commissioning=CommissioningSettings(captures=captures, false_alarm_rate=false_alarm_rate),
        alarm=alarm or AlarmSettings(), machines=tuple(plates),
    )  # fmt: skip


def judge_with(settings: GatewaySettings | None = None, **more: Any) -> Judge:
    """A judge that remembers nothing but what it is told."""
    return Judge(settings or gateway_settings(), known=lambda _keys: set(), **more)


def write_recording(path: Path, signal: NDArray[Any], **changes: Any) -> Path:
    """Write a recording: signal in g, (snapshots, channels, samples); `changes` replace or (None) leave out keys."""
    snapshots, channels, samples = signal.shape
    scale = max(float(np.nanmax(np.abs(signal), initial=0.0)) / 32000.0, 1e-6)
    keys: dict[str, Any] = {
        "x": np.round(np.nan_to_num(signal) / scale).astype(np.int16), "scale": np.full(channels, scale),
        "offset": np.zeros(channels), "fs": RATE_HZ, "t": np.arange(snapshots) * max(10.0, samples / RATE_HZ),
        "channels": np.array(["a"] * channels), "unit": "g", "dataset": "made", "machine": "m-1", "bearing": "b",
        "recording": path.stem, "part": "dev", "label": "healthy", "severity": np.nan, "severity_unit": "",
        "rpm": RPM, "load": 0.0, "load_unit": "hp", "mult": np.full(4, np.nan),
        "geometry": np.array([9, 7.94, 39.04, 0]),
        "temp": np.zeros(0, np.float32), "anomaly": np.zeros((0, 0), np.int8), "changepoint": np.zeros((0, 0), np.int8),
        "n_observed": -1, "rul_true_s": np.nan,
    }  # fmt: skip
    keys |= changes
    np.savez(path, **{name: value for name, value in keys.items() if value is not None})
    return path
