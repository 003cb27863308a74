"""This file knows how a mapping is tried on real payloads before it goes live; nothing is connected or stored.

A payload goes the way of a running gateway: mapping, known machine, key, quality. What is printed is what the gateway
would store, or the reason it would refuse.
"""

import argparse
import math
import sys
import time

import numpy as np

from gateway_agent.errors import MapCheckError
from gateway_agent.foreign.mapping import ForeignSensors
from gateway_agent.foreign.reading import Reading
from gateway_agent.intake import Intake, Payload, Taken
from gateway_agent.judge import Judge
from gateway_agent.settings import GatewaySettings
from gateway_agent.waiting import Waiting
from schemas.capture import Capture
from schemas.errors import RejectedInput
from schemas.fragments import Reassembly
from schemas.messages import Health
from schemas.settings import load_settings


def map_check(options: argparse.Namespace) -> int:
    """Print what payloads would become; 2 where one is refused or fragments are missing.

    Raises:
        SettingsError: The settings cannot be used.
        MapCheckError: A file cannot be read, or there are more topics than payloads.
    """
    settings = load_settings(GatewaySettings, options.settings)
    foreign = ForeignSensors(
        settings.foreign, max_bytes=settings.ingest.fragment_bytes, max_age_s=settings.ingest.fragment_age_s
    )
    intake = Intake(
        settings.site, settings.gateway, frozenset(plate.machine for plate in settings.machines),
        settings.accept_unknown_machines, Reassembly(max_bytes=1 << 16, max_age_s=1.0), foreign,
    )  # fmt: skip
    seen: dict[tuple[str, int], list[int]] = {}
    judge = Judge(settings, known=lambda _: set(), recall=lambda point, boot: seen.get((point, boot), []))
    topics = options.topic if len(options.topic) > 1 else options.topic * len(options.payload)
    if len(topics) != len(options.payload):
        raise MapCheckError(f"{len(topics)} topics for {len(options.payload)} payloads; one topic, or one a payload")
    waiting = refused = 0
    for topic, path in zip(topics, options.payload, strict=True):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise MapCheckError(f"payload {path} cannot be read: {error.strerror}") from error
        try:
            taken = intake.take(Payload(topic, content, time.time_ns() // 1000), now_s=0.0)
        except RejectedInput as error:
            refused += 1
            print(f"{path}: refused: {error.reason}: {error}", file=sys.stderr)
            continue
        waiting = waiting + 1 if isinstance(taken, Waiting) else 0
        if isinstance(taken, Waiting):
            print(f"{path}: a fragment, kept until the others are here")
            continue
        verdicts = judge.process([taken], now_us=taken.received_at_us).verdicts
        for verdict in verdicts:
            seen.setdefault((taken.point, taken.capture.boot), []).append(taken.capture.sequence)
            print(f"{path}: {describe(taken, verdict.outcome.health)}")
        if not verdicts:
            print(f"{path}: the same message as before; it would be stored once")
    if waiting:
        print(f"refused: fragments_incomplete: the last {waiting} fragments make no whole message", file=sys.stderr)
    return 2 if refused or waiting else 0


def describe(taken: Taken, health: Health) -> str:
    """What a gateway would store, for a person."""
    capture = taken.capture
    again = {None: "the sensor's boot and sequence", math.inf: "a digest"}.get(
        taken.same_within_s, f"a digest, for {taken.same_within_s} s"
    )
    unsure = " (time of receipt)" if capture.flags else ""
    told = {"rpm": capture.rpm, "load": capture.load, "temperature_c": capture.temperature_c,
            "battery_v": capture.battery_v, "rssi_dbm": capture.rssi_dbm}  # fmt: skip
    rows = [
        ("measured at", f"{np.datetime64(capture.measured_at_us, 'us')} UTC{unsure}"),
        ("known again", f"by {again}: boot {capture.boot}, sequence {capture.sequence}"),
        *(_samples(capture) if taken.reading is None else _values(taken.reading)),
        *((name, f"{value:.6g}") for name, value in told.items() if not math.isnan(value)),
        ("quality", health.quality),
        ("zone", f"{health.zone or 'none'}: {health.zone_basis}"),
    ]
    return "\n".join([f"point {taken.point}", *(f"  {name:<14}{text}" for name, text in rows)])


def _samples(capture: Capture) -> list[tuple[str, str]]:
    signal_g = capture.acceleration_g()
    mean_g, deviation_g, peak_g = signal_g.mean(axis=1), signal_g.std(axis=1), np.abs(signal_g).max(axis=1)
    return [
        ("waveform", f"{capture.channels} x {capture.samples} samples at {capture.sample_rate_hz:g} Hz"),
        *(
            (
                f"axis {axis + 1}",
                (
                    f"mean {mean_g[axis]:.6g} g, rms about it {deviation_g[axis]:.6g} g, peak {peak_g[axis]:.6g} g, "
                    f"{capture.scale_g[axis]:.6g} g a count"
                ),
            )
            for axis in range(capture.channels)
        ),
    ]


def _values(reading: Reading) -> list[tuple[str, str]]:
    band = reading.velocity_band_hz
    values = {
        "velocity": (reading.velocity_rms_mm_s, "mm/s RMS" + (f", {band[0]:g} to {band[1]:g} Hz" if band else "")),
        "acceleration": (reading.acceleration_rms_g, "g RMS"),
        "peak": (reading.acceleration_peak_g, "g"),
        "crest factor": (reading.crest_factor, ""),
        "kurtosis": (reading.kurtosis, ""),
    }
    return [(name, f"{value:.6g} {unit}".rstrip()) for name, (value, unit) in values.items() if not math.isnan(value)]
