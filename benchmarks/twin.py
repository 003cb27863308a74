"""This file knows the straightforward gateway that ours is measured beside: all in paho's callback, one by one.

What it does is right, and what anybody would write first: zero-phase filters, the Hilbert envelope, a model call, one
ORM commit a message with `synchronous=FULL`. As a program: `python -m benchmarks.twin GATEWAY_TOML DATABASE COUNT`.
"""

import itertools
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.signal
import scipy.stats
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gateway_agent.builtin import builtin_model
from gateway_agent.settings import GatewaySettings
from schemas.capture import Capture, decode_capture
from schemas.database import open_database, sqlite_url
from schemas.link import Link, Received
from schemas.settings import load_settings
from schemas.topics import CAPTURE

BANDS, ENVELOPE_BANDS = 32, 16
PATIENCE_S = 300.0


class Base(DeclarativeBase):
    """The twin's tables."""


class Row(Base):
    """One capture, judged."""

    __tablename__ = "capture"
    id: Mapped[int] = mapped_column(primary_key=True)
    topic: Mapped[str]
    boot: Mapped[int] = mapped_column(sa.BigInteger)
    sequence: Mapped[int] = mapped_column(sa.BigInteger)
    velocity_mm_s: Mapped[float]
    kurtosis: Mapped[float]
    score: Mapped[float]
    raw: Mapped[bytes]


def features_of(capture: Capture) -> tuple[np.ndarray, float, float]:
    """Band levels (channels, 48) in decades, and velocity in mm/s and kurtosis of the worst axis; filter by filter."""
    rate_hz = capture.sample_rate_hz
    band = scipy.signal.butter(4, [10.0, 1000.0], "band", fs=rate_hz, output="sos")
    high = scipy.signal.butter(4, [2000.0, 10_000.0], "band", fs=rate_hz, output="sos")
    rows, velocity, kurtosis = [], 0.0, 0.0
    for signal_g in capture.acceleration_g():
        x = scipy.signal.detrend(np.asarray(signal_g, np.float64), type="linear")
        speed = scipy.signal.sosfiltfilt(band, np.cumsum(scipy.signal.sosfiltfilt(band, 9.80665 * x)) / rate_hz)
        velocity = max(velocity, 1e3 * float(np.sqrt(np.mean(speed**2))))
        kurtosis = max(kurtosis, float(scipy.stats.kurtosis(x, fisher=False)))
        envelope = np.abs(scipy.signal.hilbert(scipy.signal.sosfiltfilt(high, x)))
        rows.append([*_levels(x, rate_hz, BANDS), *_levels(envelope - envelope.mean(), rate_hz, ENVELOPE_BANDS)])
    return np.asarray(rows, np.float32), velocity, kurtosis


def _levels(x: np.ndarray, rate_hz: float, bands: int) -> list[float]:
    power = np.abs(np.fft.rfft(x * np.hanning(x.size))) ** 2
    at_hz = np.fft.rfftfreq(x.size, 1.0 / rate_hz)
    edges_hz = np.geomspace(10.0, rate_hz / 2.0, bands + 1)
    return [
        float(np.log10(power[(at_hz >= low) & (at_hz < top)].sum() + 1e-12))
        for low, top in itertools.pairwise(edges_hz)
    ]


def main(arguments: Sequence[str]) -> int:
    """Judge and store so many captures, and end."""
    settings, path, count = load_settings(GatewaySettings, Path(arguments[0])), Path(arguments[1]), int(arguments[2])
    engine = open_database(sqlite_url(path))
    Base.metadata.create_all(engine)
    model, done, stored = builtin_model(), threading.Event(), 0

    def take(received: Received) -> None:
        nonlocal stored
        capture = decode_capture(received.payload)
        rows, velocity, kurtosis = features_of(capture)
        score = float(model.score(rows)[0].mean())
        with Session(engine) as session:
            session.add(Row(
                topic=received.topic, boot=capture.boot, sequence=capture.sequence, velocity_mm_s=velocity,
                kurtosis=kurtosis, score=score, raw=received.payload,
            ))  # fmt: skip
            session.commit()
        stored += 1
        if stored >= count:
            done.set()

    subscriptions = [(CAPTURE.filter(site=settings.site, gateway=settings.gateway), 1)]
    link = Link(settings.broker, "bench-listener", subscriptions=subscriptions, on_message=take)
    link.start()
    ended = done.wait(PATIENCE_S)
    link.stop()
    return 0 if ended else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
