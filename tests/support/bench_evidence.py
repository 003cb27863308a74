"""Evidence as a gateway sends it on request: a waveform with damage that grows, and the spectra computed from it."""

import functools

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from schemas.messages import AxisWaveform, Evidence, FaultLine, Series
from schemas.site_tables import evidence
from tests.support.site_database import BOOT, BPFO_HZ, ORDERS, RPM, SHAFT_HZ, SLIP
from vibration.envelope import envelope_spectrum
from vibration.spectrum import amplitude_spectrum

RATE_HZ = 12_800.0
SAMPLES = 16_384
RESONANCE_HZ = 3_200.0
BAND_HZ = (2_400.0, 4_000.0)
SCALE_G = 16.0 / 32768
FOUND_HZ = BPFO_HZ * (1.0 - SLIP)


def waveform_g(rng: np.random.Generator, *, damage_g: float) -> NDArray[np.float64]:
    """Impacts at the outer race's rate, slipping, that ring a resonance; shaft lines and noise."""
    time_s = np.arange(SAMPLES) / RATE_HZ
    signal = 0.03 * np.sin(2 * np.pi * SHAFT_HZ * time_s) + 0.02 * rng.standard_normal(SAMPLES)
    steps_s = (1.0 + 0.005 * rng.standard_normal(int(FOUND_HZ * SAMPLES / RATE_HZ) + 8)) / FOUND_HZ
    for start_s in np.cumsum(steps_s):
        after_s = time_s - start_s
        ringing = np.exp(-900.0 * np.clip(after_s, 0.0, None)) * np.sin(2 * np.pi * RESONANCE_HZ * after_s)
        signal += damage_g * np.where(after_s >= 0.0, ringing, 0.0)
    return np.asarray(signal, dtype=np.float64)


def other_axis(rng: np.random.Generator, axis: int, *, share: complex) -> AxisWaveform:
    """An axis whose shaft line is `share` of that of axis 0, as a sensor of 16 g counts it."""
    time_s = np.arange(SAMPLES) / RATE_HZ
    turning = np.exp(1j * (2 * np.pi * SHAFT_HZ * time_s - np.pi / 2))
    signal = 0.03 * np.real(share * turning) + 0.004 * rng.standard_normal(SAMPLES)
    counts = np.round(signal / SCALE_G).astype(np.int16)
    return AxisWaveform.pack(counts, axis=axis, scale_g=SCALE_G, step_s=1.0 / RATE_HZ)


@functools.lru_cache(maxsize=64)  # a tenth of a second each, and every test of the bench wants the same week
def requested_evidence(
    point: str, *, measured_at_us: int, sequence: int, damage_g: float = 0.5, with_waveform: bool = True,
    why: str = "asked for by A. Schmidt: is it the bearing?",
) -> Evidence:  # fmt: skip
    """One piece of evidence, the same from one sequence number."""
    signal = waveform_g(np.random.default_rng(sequence), damage_g=damage_g)
    hz, heights = amplitude_spectrum(signal, sample_rate_hz=RATE_HZ)
    envelope_hz, envelope = envelope_spectrum(signal, sample_rate_hz=RATE_HZ, band_hz=BAND_HZ)
    rates = (("BPFO", ORDERS.bpfo), ("BPFI", ORDERS.bpfi), ("2xBSF", 2 * ORDERS.bsf), ("FTF", ORDERS.ftf), ("1x", 1.0))
    return Evidence(
        point=point, capture_boot=3, capture_sequence=sequence, measured_at_us=measured_at_us, why=why, axis=0,
        rpm=RPM,
        spectrum=Series.pack(heights[:4096], start=0.0, step=float(hz[1]), axis_unit="Hz", value_unit="g"),
        envelope=Series.pack(envelope, start=0.0, step=float(envelope_hz[1]), axis_unit="Hz", value_unit="g"),
        envelope_band_hz=BAND_HZ,
        waveform=Series.pack(signal, start=0.0, step=1.0 / RATE_HZ, axis_unit="s", value_unit="g")
        if with_waveform else None,
        other_axes=(
            other_axis(np.random.default_rng(sequence + 1), 1, share=0.9j),
            other_axis(np.random.default_rng(sequence + 2), 2, share=0.02),
        ) if with_waveform else (),
        range_g=16.0,
        fault_lines=tuple(
            FaultLine(
                name=name, frequency_hz=order * SHAFT_HZ, harmonics=4,
                found_hz=FOUND_HZ if name == "BPFO" else None, prominence_db=30.0 if name == "BPFO" else None,
            )
            for name, order in rates
        ),
    )  # fmt: skip


def add_evidence(connection: Connection, found: Evidence, *, gateway: str = "gw-a", sequence: int) -> str:
    """Store one piece as the historian does; by which name an address calls it."""
    connection.execute(
        sa.insert(evidence).values(
            gateway=gateway, boot=BOOT, sequence=sequence, point=found.point, measured_at_us=found.measured_at_us,
            why=found.why, detail=found.model_dump(mode="json"),
            waveform_samples=None if found.waveform is None else found.waveform.unpack().size,
        )
    )  # fmt: skip
    return f"{gateway}:{BOOT}:{sequence}"


def add_week(connection: Connection, point: str, *, now_us: int, captures: int = 8) -> list[str]:
    """Captures of a week of growing damage, oldest first, the last an hour old; their names."""
    names = []
    for index in range(captures):
        age_us = int(3600e6 + (captures - 1 - index) * 86_400e6)
        grown = 0.05 * 10.0 ** (index / (captures - 1))
        found = requested_evidence(point, measured_at_us=now_us - age_us, sequence=1000 + index, damage_g=grown)
        names.append(add_evidence(connection, found, sequence=600_000 + index))
    return names
