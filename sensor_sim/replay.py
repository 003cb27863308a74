"""This file knows how recordings are played as if a sensor measured them now: which file, which part, on which point.

A playlist is TOML: points, and on each a list of parts played one after the other. Windows follow each other without
gaps; a snapshot shorter than a window is one window, and what is left of a longer one is not played.
"""

import heapq
import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from schemas.capture import MAX_SAMPLES, MIN_SAMPLES, Capture, CaptureFlag
from schemas.names import Name, PointId, machine_of
from schemas.settings import Settings
from sensor_sim.delivery import Delivery, Route, plan_delivery
from sensor_sim.errors import PlaylistError
from sensor_sim.randomness import seed_of, stream
from sensor_sim.sources import Source, read_source

MAX_PLAYLIST_BYTES = 1 << 20


class Part(Settings):
    """A stretch of one recording."""

    file: Path
    from_s: float = Field(default=0.0, ge=0)
    to_s: float = Field(default=math.inf, gt=0)
    rate_hz: float | None = Field(default=None, gt=0, description="Where the file does not say.")
    scale_g: float | None = Field(default=None, gt=0, description="g per unit of the file, where it does not say.")
    channels: tuple[str, ...] = Field(default=(), max_length=8, description="All of them if empty.")
    captures: int | None = Field(default=None, ge=1, description="At most so many windows of it.")
    times: int = Field(default=1, ge=1, le=100_000, description="How often it is played.")

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to_s <= self.from_s:
            raise ValueError(f"part of {self.file} ends at {self.to_s} s, after {self.from_s} s expected")
        return self


class ReplayPoint(Settings):
    """A measurement point at which recordings are played."""

    point: PointId
    gateway: Name | None = Field(default=None, description="As in the settings if not set.")
    samples: int | None = Field(default=None, ge=MIN_SAMPLES, le=MAX_SAMPLES, description="A capture; else window_s.")
    window_s: float | None = Field(default=None, gt=0, le=100, description="Length of a capture.")
    interval_s: float = Field(default=2.0, gt=0, le=86_400)
    delay_s: float = Field(default=0.0, ge=0, description="Before the first capture.")
    keeps_until_ack: bool = Field(default=True, description="A recording loses nothing on its way.")
    parts: tuple[Part, ...] = Field(min_length=1, max_length=10_000)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.samples is not None and self.window_s is not None:
            raise ValueError(f"point {self.point} has samples and window_s; give one of them")
        return self

    def window_samples(self, sample_rate_hz: float) -> int:
        """Samples of one capture; a quarter of a second where nothing is said."""
        if self.samples is not None:
            return self.samples
        return round((0.25 if self.window_s is None else self.window_s) * sample_rate_hz)


class Playlist(Settings):
    """Everything that is replayed in one run."""

    title: str = ""
    points: tuple[ReplayPoint, ...] = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [point.point for point in self.points]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"points {twice} are listed twice; list their parts one after the other")
        return self


def load_playlist(path: Path, folder: Path | None = None) -> Playlist:
    """Read a playlist.

    Args:
        path: The TOML file.
        folder: What the recordings' paths are relative to; the playlist's own folder by default.

    Raises:
        PlaylistError: It cannot be read, or a value is not allowed; the message names the place.
    """
    try:
        if path.stat().st_size > MAX_PLAYLIST_BYTES:
            raise PlaylistError(f"playlist {path} has {path.stat().st_size} bytes, {MAX_PLAYLIST_BYTES} allowed")
        playlist = Playlist.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlaylistError(f"playlist {path} cannot be read: {error}") from error
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise PlaylistError(f"playlist {path} cannot be used:\n" + "\n".join(lines)) from error
    base = folder or path.resolve().parent
    points = tuple(
        point.model_copy(
            update={"parts": tuple(part.model_copy(update={"file": base / part.file}) for part in point.parts)}
        )
        for point in playlist.points
    )
    return playlist.model_copy(update={"points": points})


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One stretch of a recording that becomes a capture."""

    source: Source
    counts: NDArray[np.int16]


def cut_windows(source: Source, part: Part, samples: int) -> Iterator[Window]:
    """Cut a recording into windows, in order.

    One snapshot is cut between the part's seconds; of many snapshots those are played that begin between them.

    Args:
        source: The recording.
        part: From when to when, and how many at most.
        samples: Length of a window.
    """
    given = 0
    for number, start_s in enumerate(source.start_s.tolist()):
        snapshot = source.counts[number]
        if len(source.start_s) == 1:
            first = math.ceil(part.from_s * source.sample_rate_hz - 1e-6)
            last = min(part.to_s * source.sample_rate_hz, float(snapshot.shape[1]))
            snapshot = snapshot[:, first : math.ceil(last - 1e-6)]
        elif not part.from_s <= start_s < part.to_s:
            continue
        length = min(samples, snapshot.shape[1])
        if length < MIN_SAMPLES:
            continue
        for begin in range(0, snapshot.shape[1] - length + 1, length):
            if part.captures is not None and given >= part.captures:
                return
            given += 1
            yield Window(source, snapshot[:, begin : begin + length])


class Replay:
    """Plays a playlist as deliveries, like a plant.

    Args:
        playlist: What is played.
        site: The site's name.
        gateway_of: Which gateway listens to a machine, where the playlist does not say.
        run: Decides the boots: a second run on a plant that remembers needs another.
        epoch_us: Date of second 0, microseconds since 1970 UTC.
    """

    def __init__(
        self, playlist: Playlist, *, site: str, gateway_of: Callable[[str], str], run: int, epoch_us: int
    ) -> None:
        self._playlist = playlist
        self._routes = [
            Route(site, point.gateway or gateway_of(machine_of(point.point)), point.point) for point in playlist.points
        ]
        self._run = run
        self._epoch_us = epoch_us

    def check(self) -> dict[str, int]:
        """Read every file once; return how many captures each point will play.

        Raises:
            SourceRejected: A file cannot be replayed.
            PlaylistError: Nothing is left of a part after cutting.
        """
        return {point.point: sum(1 for _ in _windows(point)) for point in self._playlist.points}

    def deliveries(self) -> Iterator[Delivery]:
        """Yield all captures of all points in order of time.

        Raises:
            SourceRejected: A file cannot be replayed.
            PlaylistError: Nothing is left of a part after cutting.
        """
        return heapq.merge(
            *(self._point(number) for number in range(len(self._routes))), key=lambda delivery: delivery.at_s
        )

    def _point(self, number: int) -> Iterator[Delivery]:
        point, route = self._playlist.points[number], self._routes[number]
        seed = seed_of(self._run, "replay", point.point)
        boot = int(stream(seed).integers(1, 1 << 63))
        flags = CaptureFlag.KEPT_UNTIL_ACK if point.keeps_until_ack else CaptureFlag.NONE
        for sequence, window in enumerate(_windows(point)):
            source = window.source
            started_s = point.delay_s + sequence * point.interval_s
            capture = Capture(
                boot, sequence, self._epoch_us + round(1e6 * started_s), source.sample_rate_hz, window.counts,
                source.scale_g, rpm=source.rpm, flags=flags,
            )  # fmt: skip
            ready_s = started_s + min(window.counts.shape[1] / source.sample_rate_hz, point.interval_s)
            yield from plan_delivery(
                capture, route, ready_s=ready_s, started_s=started_s, chance=stream(seed, "way", sequence)
            )


def _windows(point: ReplayPoint) -> Iterator[Window]:
    for part in point.parts:
        source = read_source(part.file, rate_hz=part.rate_hz, scale_g=part.scale_g, channels=part.channels)
        samples = point.window_samples(source.sample_rate_hz)
        if not MIN_SAMPLES <= samples <= MAX_SAMPLES:
            raise PlaylistError(
                f"{part.file}: a capture would have {samples} samples, {MIN_SAMPLES} to {MAX_SAMPLES} allowed; "
                "set samples or window_s"
            )
        for _ in range(part.times):
            played = 0
            for window in cut_windows(source, part, samples):
                played += 1
                yield window
            if not played:
                raise PlaylistError(
                    f"{part.file}: nothing to play from {part.from_s:g} to {part.to_s:g} s with {samples} samples a "
                    "capture; choose other seconds or a shorter capture"
                )
