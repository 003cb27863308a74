"""Recordings of every kind become the same thing; what they do not say is asked for, never guessed."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from sensor_sim.errors import SourceRejected
from sensor_sim.sources import read_source

CHANCE = np.random.default_rng(11)
COUNTS = CHANCE.integers(-32768, 32767, (2, 3, 500), dtype=np.int16)


def write_npz(path: Path, **changes: Any) -> Path:
    keys: dict[str, Any] = {
        "x": COUNTS, "scale": np.array([1e-4, 2e-4, 3e-4]), "offset": np.zeros(3), "fs": np.float64(12_000.0),
        "t": np.array([0.0, 10.0]), "channels": np.array(["a", "b", "c"]), "unit": np.array("g"),
        "machine": np.array("rig"), "rpm": np.float64(1772.0), "load": np.float64(1.0),
        "mult": np.full(4, np.nan), "geometry": np.full(4, np.nan),
    }  # fmt: skip
    keys.update(changes)
    np.savez(path, **{name: value for name, value in keys.items() if value is not None})
    return path


def write_wav(path: Path, samples: np.ndarray[Any, Any], width: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    return path


def test_npz_keeps_every_count_and_its_scale(tmp_path):
    source = read_source(write_npz(tmp_path / "r.npz"))
    assert (source.counts == COUNTS).all()
    assert source.counts.dtype == np.int16
    assert source.scale_g.tolist() == [1e-4, 2e-4, 3e-4]
    assert (source.sample_rate_hz, source.rpm) == (12_000.0, 1772.0)
    assert source.start_s.tolist() == [0.0, 10.0]


def test_npz_of_floats_is_written_as_counts_that_fill_the_range(tmp_path):
    signal = CHANCE.normal(0.0, 2.0, (2, 3, 500))
    source = read_source(write_npz(tmp_path / "r.npz", x=signal, scale=np.array([1.0, -1.0, 0.5])))
    physical = source.counts * source.scale_g[:, None]
    expected = signal * np.array([1.0, -1.0, 0.5])[:, None]
    expected -= expected.mean(axis=(0, 2), keepdims=True)
    assert np.abs(source.counts).max() == 32767
    assert np.abs(physical - expected).max() <= source.scale_g.max() * 0.5001


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fs": None}, "sampling rate"),
        ({"fs": np.float64("nan")}, "sampling rate"),
        ({"x": COUNTS[0]}, "snapshot"),
        ({"scale": np.zeros(3)}, "scale"),
        ({"x": np.array([None, {}])}, "cannot be read"),
        ({"fs": np.float64(0.01)}, "samples a second"),
        ({"scale": np.full(3, 2e3)}, "g a count"),
    ],
)
def test_npz_with_a_mistake_is_refused_by_name(tmp_path, changes, said):
    with pytest.raises(SourceRejected, match=said) as refused:
        read_source(write_npz(tmp_path / "bad.npz", **changes))
    assert "bad.npz" in str(refused.value)


def test_a_rate_that_contradicts_the_file_is_refused(tmp_path):
    with pytest.raises(SourceRejected, match="leave --rate-hz out"):
        read_source(write_npz(tmp_path / "r.npz"), rate_hz=48_000.0)


def test_mat_of_cwru_gives_channels_in_order_and_the_speed(tmp_path):
    signals = {name: CHANCE.normal(0.0, 0.3, 2000) for name in ("DE", "FE", "BA")}
    table = {f"X097_{name}_time": signal[:, None] for name, signal in signals.items()}
    scipy.io.savemat(tmp_path / "97.mat", {**table, "X097RPM": [[1796]], "note": "text"}, do_compression=True)
    source = read_source(tmp_path / "97.mat", rate_hz=12_000.0)
    assert source.channels == ("DE", "FE", "BA")
    assert (source.rpm, source.sample_rate_hz) == (1796.0, 12_000.0)
    for row, signal in enumerate(signals.values()):
        physical = source.counts[0, row] * source.scale_g[row]
        assert np.abs(physical - (signal - signal.mean())).max() <= source.scale_g[row] * 0.5001


def test_mat_without_a_rate_says_what_to_do(tmp_path):
    scipy.io.savemat(tmp_path / "97.mat", {"X097_DE_time": np.ones((40, 1))})
    with pytest.raises(SourceRejected, match="a recording without a sampling rate; give it with --rate-hz"):
        read_source(tmp_path / "97.mat")


def test_mat_without_a_known_channel_or_of_another_format_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "other.mat", {"velocity": np.ones((40, 1))})
    (tmp_path / "no.mat").write_bytes(b"MATLAB 7.3 MAT-file" + bytes(500))
    with pytest.raises(SourceRejected, match="no channel DE, FE or BA"):
        read_source(tmp_path / "other.mat", rate_hz=12_000.0)
    with pytest.raises(SourceRejected, match="of version 5"):
        read_source(tmp_path / "no.mat", rate_hz=12_000.0)


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
def test_csv_has_one_column_a_channel(tmp_path, mark):
    signal = CHANCE.normal(0.0, 1.0, (300, 2))
    lines = [mark.join(f"{value:.9f}" for value in row) for row in signal]
    (tmp_path / "r.csv").write_text("\n".join(lines) + "\n")
    source = read_source(tmp_path / "r.csv", rate_hz=1000.0, scale_g=0.5)
    physical = (source.counts[0] * source.scale_g[:, None]).T
    assert physical == pytest.approx(0.5 * (signal - signal.mean(axis=0)), abs=1e-4)


def test_csv_with_a_heading_names_its_channels_and_leaves_time_out(tmp_path):
    (tmp_path / "r.csv").write_text("time_s,x,y\n" + "".join(f"{n / 100},{n % 7},{n % 5}\n" for n in range(100)))
    assert read_source(tmp_path / "r.csv", rate_hz=100.0, scale_g=1.0).channels == ("x", "y")
    only_y = read_source(tmp_path / "r.csv", rate_hz=100.0, scale_g=1.0, channels=("y",))
    assert only_y.channels == ("y",)
    with pytest.raises(SourceRejected, match=r"no channel \['z'\]; it has \['x', 'y'\]"):
        read_source(tmp_path / "r.csv", rate_hz=100.0, scale_g=1.0, channels=("z",))


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("1,2\n3,4\n", {"scale_g": 1.0}, "sampling rate"),
        ("1,2\n3,4\n", {"rate_hz": 100.0}, "without a scale"),
        ("1,2\n3,x\n", {"rate_hz": 100.0, "scale_g": 1.0}, "no table of numbers"),
        ("", {"rate_hz": 100.0, "scale_g": 1.0}, "no rows"),
        ("t\n1\n2\n", {"rate_hz": 100.0, "scale_g": 1.0}, "only a column of time"),
        ("1\nnan\n2\n", {"rate_hz": 100.0, "scale_g": 1.0}, "not finite"),
        ("1\n2\n", {"rate_hz": -5.0, "scale_g": 1.0}, "allowed"),
        ("1\n2\n", {"rate_hz": 100.0, "scale_g": float("nan")}, "above 0"),
    ],
)
def test_csv_with_a_mistake_is_refused_with_the_next_step(tmp_path, text, options, said):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(SourceRejected, match=said):
        read_source(tmp_path / "bad.csv", **options)


def test_wav_of_16_bits_keeps_every_count(tmp_path):
    samples = CHANCE.integers(-32768, 32767, (400, 2)).astype("<i2")
    source = read_source(write_wav(tmp_path / "r.wav", samples, 2), scale_g=1e-3)
    assert (source.counts[0] == samples.T).all()
    assert source.scale_g.tolist() == [1e-3, 1e-3]
    assert source.sample_rate_hz == 8000.0


def test_wav_of_8_and_24_bits_keeps_its_shape(tmp_path):
    eight = CHANCE.integers(0, 255, (400, 1)).astype(np.uint8)
    source = read_source(write_wav(tmp_path / "8.wav", eight, 1), scale_g=1.0)
    centred = eight[:, 0].astype(float) - eight.mean()
    assert source.counts[0, 0] * source.scale_g[0] == pytest.approx(centred, abs=0.01)
    wide = CHANCE.integers(-(1 << 23), (1 << 23) - 1, 400)
    raw = wide.astype("<i4").view(np.uint8).reshape(-1, 4)[:, None, :3].copy()
    source = read_source(write_wav(tmp_path / "24.wav", raw, 3), scale_g=1.0)
    assert source.counts[0, 0] * source.scale_g[0] == pytest.approx(wide - wide.mean(), abs=300.0)


def test_wav_without_a_scale_and_no_wav_at_all_are_refused(tmp_path):
    path = write_wav(tmp_path / "r.wav", np.zeros((50, 1), "<i2"), 2)
    with pytest.raises(SourceRejected, match="without a scale; give g per unit with --scale-g"):
        read_source(path)
    (tmp_path / "no.wav").write_bytes(b"RIFF....")
    with pytest.raises(SourceRejected, match="no readable WAV"):
        read_source(tmp_path / "no.wav", scale_g=1.0)


def test_missing_unknown_and_oversized_files_are_refused(tmp_path):
    with pytest.raises(SourceRejected, match="No such file"):
        read_source(tmp_path / "none.npz")
    (tmp_path / "r.xyz").write_text("?")
    with pytest.raises(SourceRejected, match="can be replayed"):
        read_source(tmp_path / "r.xyz")
    with (tmp_path / "big.csv").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(SourceRejected, match="cut it first"):
        read_source(tmp_path / "big.csv", rate_hz=1.0, scale_g=1.0)
