"""A playlist is played window by window, exactly as it was recorded."""

from pathlib import Path

import numpy as np
import pytest

from schemas.capture import CaptureFlag, decode_capture
from sensor_sim.errors import PlaylistError, SourceRejected
from sensor_sim.replay import Part, Replay, cut_windows, load_playlist
from sensor_sim.sources import read_source
from tests.support.machine_scenarios import EPOCH_US

RATE_HZ = 1000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, level in (("healthy", 1), ("fault", 5)):
        counts = np.arange(2050, dtype=np.int16)[None, None, :] * np.array([1, -1], np.int16)[:, None] * level
        _write(tmp_path / f"{name}.npz", counts, [0.0])
    many = np.arange(5 * 2 * 64, dtype=np.int16).reshape(5, 2, 64)
    _write(tmp_path / "many.npz", many, [0.0, 10.0, 20.0, 30.0, 40.0])
    return tmp_path


def _write(path: Path, counts: np.ndarray, start_s: list[float]) -> None:  # type: ignore[type-arg]
    unknown = np.full(4, np.nan)
    np.savez(
        path, x=counts, scale=np.full(2, 1e-3), offset=np.zeros(2), fs=RATE_HZ, t=np.array(start_s),
        channels=["a", "b"], unit="g", machine="rig", rpm=1500.0, load=np.nan, mult=unknown, geometry=unknown,
    )  # fmt: skip


def playlist(folder: Path, text: str) -> Replay:
    path = folder / "list.toml"
    path.write_text(text)
    return Replay(load_playlist(path), site="s", gateway_of=lambda _: "g", run=1, epoch_us=EPOCH_US)


HEALTHY_THEN_FAULT = """
[[points]]
point = "pump-1/de"
samples = 500
interval_s = 2.0
parts = [{ file = "healthy.npz", from_s = 0.5, to_s = 2.0 }, { file = "fault.npz", captures = 2 }]
"""


def test_parts_follow_each_other_as_consecutive_windows_with_exact_counts(folder):
    found = list(playlist(folder, HEALTHY_THEN_FAULT).deliveries())
    captures = [decode_capture(d.payload) for d in found]
    assert [c.sequence for c in captures] == [0, 1, 2, 3, 4]
    assert [int(c.counts[0, 0]) for c in captures] == [500, 1000, 1500, 0, 2500]
    assert captures[0].counts[1].tolist() == [-n for n in range(500, 1000)]
    assert captures[3].counts[0].tolist() == [5 * n for n in range(500)]
    assert captures[0].scale_g.tolist() == [1e-3, 1e-3]
    assert [c.measured_at_us - EPOCH_US for c in captures] == [n * 2_000_000 for n in range(5)]
    assert captures[0].rpm == 1500.0
    assert captures[0].sample_rate_hz == RATE_HZ
    assert all(CaptureFlag.KEPT_UNTIL_ACK in c.flags for c in captures)
    assert {d.topic for d in found} == {"ut/v1/s/sensor/g/pump-1/de/capture"}


def test_points_are_played_side_by_side_in_order_of_time(folder):
    second = HEALTHY_THEN_FAULT.replace("pump-1", "pump-2").replace("interval_s = 2.0", "interval_s = 0.7")
    found = list(playlist(folder, HEALTHY_THEN_FAULT + second).deliveries())
    assert [d.at_s for d in found] == sorted(d.at_s for d in found)
    assert len({d.boot for d in found}) == 2
    assert len(found) == 10


def test_check_counts_what_will_be_played(folder):
    assert playlist(folder, HEALTHY_THEN_FAULT).check() == {"pump-1/de": 5}


def test_of_many_snapshots_those_are_played_that_begin_within_the_cut(folder):
    source = read_source(folder / "many.npz")
    part = Part(file=folder / "many.npz", from_s=10.0, to_s=30.0)
    windows = [w.counts for w in cut_windows(source, part, 32)]
    assert len(windows) == 4
    assert (np.concatenate(windows[:2], axis=1) == source.counts[1]).all()


def test_a_snapshot_shorter_than_a_window_is_one_window(folder):
    source = read_source(folder / "many.npz")
    windows = list(cut_windows(source, Part(file=folder / "many.npz"), 100))
    assert [w.counts.shape for w in windows] == [(2, 64)] * 5


def test_a_part_can_be_played_several_times(folder):
    text = HEALTHY_THEN_FAULT.replace("captures = 2", "captures = 2, times = 3")
    assert playlist(folder, text).check() == {"pump-1/de": 9}


def test_window_may_be_given_in_seconds(folder):
    text = HEALTHY_THEN_FAULT.replace("samples = 500", "window_s = 0.1")
    found = decode_capture(next(iter(playlist(folder, text).deliveries())).payload)
    assert found.samples == 100


def test_another_run_has_another_boot(folder):
    path = folder / "list.toml"
    path.write_text(HEALTHY_THEN_FAULT)
    boots = {
        next(iter(Replay(load_playlist(path), site="s", gateway_of=str, run=run, epoch_us=EPOCH_US).deliveries())).boot
        for run in (1, 2)
    }
    assert len(boots) == 2


@pytest.mark.parametrize(
    ("found", "instead", "said"),
    [
        ("from_s = 0.5, to_s = 2.0", "from_s = 50.0", "nothing to play"),
        ("from_s = 0.5, to_s = 2.0", "from_s = 2.0, to_s = 1.0", "ends at"),
        ("samples = 500", "samples = 500\nwindow_s = 1.0", "give one of them"),
        ("samples = 500", "sample = 500", "sample"),
        ("pump-1/de", "pump-1", "name"),
        ("[[points]]", "[points]", "points"),
        ("samples = 500", "window_s = 0.01", "10 samples"),
    ],
)
def test_a_playlist_with_a_mistake_names_it(folder, found, instead, said):
    with pytest.raises(PlaylistError, match=said):
        playlist(folder, HEALTHY_THEN_FAULT.replace(found, instead, 1)).check()


def test_a_point_that_is_listed_twice_is_refused(folder):
    with pytest.raises(PlaylistError, match="listed twice"):
        playlist(folder, HEALTHY_THEN_FAULT + HEALTHY_THEN_FAULT)


def test_a_missing_recording_is_found_before_anything_is_played(folder):
    with pytest.raises(SourceRejected, match=r"gone\.npz"):
        playlist(folder, HEALTHY_THEN_FAULT.replace("fault.npz", "gone.npz")).check()
