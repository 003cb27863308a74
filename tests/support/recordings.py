"""Small recordings on disk, in the format of the public ones: for tests of fit, back-test and replay."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_recording(
    path: Path, x: NDArray[Any], *, rate_hz: float = 8192.0, machine: str = "m1", rpm: float = 1500.0,
    label: str = "healthy", start_s: NDArray[np.float64] | None = None, **more: Any,
) -> Path:  # fmt: skip
    """Write `x` (snapshots, channels, samples) as a recording; `more` overrides or adds keys, None removes one."""
    snapshots, channels, _ = x.shape
    keys: dict[str, Any] = {
        "x": x, "scale": np.full(channels, 1e-3), "offset": np.zeros(channels), "fs": rate_hz,
        "t": np.arange(snapshots, dtype=float) * 10 if start_s is None else start_s, "channels": "x", "unit": "g",
        "dataset": "test", "machine": machine, "bearing": "b", "recording": path.stem, "part": "dev", "label": label,
        "severity": np.nan, "severity_unit": "", "rpm": rpm, "load": 0.0, "load_unit": "hp",
        "mult": np.array([3.585, 5.415, 2.357, 0.398]), "geometry": np.array([9, 7.94, 39.04, 0.0]),
        "temp": np.zeros(0, np.float32), "note": "",
    }  # fmt: skip
    keys |= more
    np.savez(path, **{name: value for name, value in keys.items() if value is not None})
    return path


def healthy_noise(seed: int, *, snapshots: int = 1, channels: int = 2, samples: int = 8192 * 4) -> NDArray[np.int16]:
    """Coloured noise with a shaft line: something a baseline can be learnt from."""
    chance = np.random.default_rng(seed)
    white = chance.standard_normal((snapshots, channels, samples))
    t = np.arange(samples) / 8192.0
    coloured = white + 0.6 * np.roll(white, 1, axis=-1)
    return np.asarray(200 * coloured + 150 * np.sin(2 * np.pi * 25.0 * t), np.int16)
