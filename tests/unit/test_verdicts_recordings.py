"""The proof harness cuts and groups recordings as the contract of the back-test says."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.verdicts.errors import FolderUnfit
from benchmarks.verdicts.recordings import Part, cut, first_windows, read_folder, read_head
from tests.support.recordings import healthy_noise, write_recording


def test_a_long_record_is_cut_into_quarter_seconds(tmp_path: Path) -> None:
    head = read_head(write_recording(tmp_path / "a.npz", healthy_noise(1, samples=8192 * 2 + 100)))
    commission, rest = first_windows(head, 5, head.natural_window_s)
    assert commission.argument == f"{head.path}:0-1.25"
    assert [len(cut(part, 0.25)) for part in (Part(head), commission, rest)] == [8, 5, 3]
    assert np.concatenate([*cut(commission, 0.25), *cut(rest, 0.25)], axis=1).shape == (2, 8 * 2048)


def test_the_first_windows_of_many_snapshots_are_whole_snapshots(tmp_path: Path) -> None:
    x = healthy_noise(1, snapshots=12, samples=200)
    head = read_head(write_recording(tmp_path / "a.npz", x, rate_hz=200.0))
    commission, rest = first_windows(head, 5, head.natural_window_s)
    assert (head.natural_window_s, head.windows(1.0)) == (1.0, 12)
    assert commission.argument.endswith(":0-50")  # snapshots start every ten seconds
    assert [len(cut(part, 1.0)) for part in (commission, rest)] == [5, 7]
    np.testing.assert_allclose(cut(rest, 1.0)[0], x[5] * 1e-3, rtol=1e-6)


def test_sessions_and_speed_steps_without_a_speed_are_told_apart_by_name(tmp_path: Path) -> None:
    x = healthy_noise(1, samples=4096)
    named = ("fan_0_low_0_weight", "fan_0_low_1_weight", "fan_1_low_0_weight", "fan_0_high_0_weight")
    heads = [read_head(write_recording(tmp_path / f"{name}.npz", x, rpm=np.nan)) for name in named]
    assert heads[0].condition == heads[1].condition
    assert len({head.condition for head in heads}) == 3


def test_records_of_another_rate_are_another_condition(tmp_path: Path) -> None:
    x = healthy_noise(1, samples=4096)
    slow = read_head(write_recording(tmp_path / "slow.npz", x, rate_hz=12_000.0))
    fast = read_head(write_recording(tmp_path / "fast.npz", x, rate_hz=48_000.0))
    assert slow.condition != fast.condition


def test_seconds_are_written_without_an_exponent(tmp_path: Path) -> None:
    head = read_head(write_recording(tmp_path / "a.npz", healthy_noise(1, samples=4096), rate_hz=1e8))
    assert Part(head, 0.0, 0.00001).argument == f"{head.path}:0-0.00001"


def test_an_empty_folder_and_a_broken_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(FolderUnfit, match=tmp_path.name):
        read_folder([tmp_path], lambda _text: None)
    (tmp_path / "broken.npz").write_bytes(b"no recording")
    with pytest.raises(FolderUnfit, match="broken"):
        read_folder([tmp_path], lambda _text: None)
