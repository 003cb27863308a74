"""Recordings come from anywhere: read whole and right, or refused with the file and the reason."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.recordings import RecordingRejected, client_of, read_recording
from tests.support.captures import write_recording

SIGNAL = np.random.default_rng(5).standard_normal((3, 2, 64))


def refusal(path: Path) -> RecordingRejected:
    with pytest.raises(RecordingRejected, match=path.name) as caught:
        read_recording(path)
    return caught.value


def read_or_refused(path: Path) -> None:
    try:
        read_recording(path)
    except RecordingRejected:
        refusal(path)


def test_a_recording_is_read_with_its_scale_rate_and_times(tmp_path: Path) -> None:
    recording = read_recording(write_recording(tmp_path / "a.npz", SIGNAL, t=np.array([0.0, 10.0, 25.0]), load=2.0))
    assert (recording.snapshots, recording.channels, recording.samples) == SIGNAL.shape
    np.testing.assert_allclose(recording.counts * recording.scale_g[None, :, None], SIGNAL, atol=1e-3)
    assert (recording.sample_rate_hz, recording.machine, recording.rpm, recording.load) == (
        12_000.0,
        "m-1",
        1797.0,
        2.0,
    )
    assert recording.start_s.tolist() == [0.0, 10.0, 25.0]
    assert recording.geometry == (9.0, 7.94, 39.04, 0.0)
    assert all(np.isnan(recording.orders))


@pytest.mark.parametrize("by", ["machine", "recording", "condition"])
def test_clients_are_told_apart_by_machine_recording_or_condition(tmp_path: Path, by: Any) -> None:
    recording = read_recording(write_recording(tmp_path / "a.npz", SIGNAL))
    assert client_of(recording, by) == {"machine": "m-1", "recording": "a", "condition": "m-1|1797|0"}[by]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, ">i2"])
def test_any_layout_of_numbers_is_read(tmp_path: Path, order: Any, dtype: Any) -> None:
    x = np.asarray(np.arange(192).reshape(3, 2, 32), dtype=dtype, order=order)
    recording = read_recording(write_recording(tmp_path / "a.npz", SIGNAL[:, :, :32], x=x))
    np.testing.assert_array_equal(recording.counts, np.arange(192).reshape(3, 2, 32))


def test_a_compressed_recording_is_read(tmp_path: Path) -> None:
    plain = write_recording(tmp_path / "a.npz", SIGNAL)
    with np.load(plain) as keys:
        np.savez_compressed(tmp_path / "b.npz", **dict(keys))
    np.testing.assert_array_equal(read_recording(tmp_path / "b.npz").counts, read_recording(plain).counts)


@pytest.mark.parametrize("rate", [np.array([12_000.0]), np.float32(12_000), 12_000])
def test_a_rate_may_be_any_single_number(tmp_path: Path, rate: Any) -> None:
    assert read_recording(write_recording(tmp_path / "a.npz", SIGNAL, fs=rate)).sample_rate_hz == 12_000.0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fs": None}, "missing_key"),
        ({"x": None}, "missing_key"),
        ({"fs": 0.0}, "bad_rate"),
        ({"fs": -1.0}, "bad_rate"),
        ({"fs": np.nan}, "bad_rate"),
        ({"fs": np.inf}, "bad_rate"),
        ({"fs": "fast"}, "unreadable"),
        ({"fs": np.array([1.0, 2.0])}, "unreadable"),
        ({"x": np.zeros((2, 64), np.int16)}, "bad_shape"),
        ({"x": np.zeros((0, 2, 64), np.int16)}, "bad_shape"),
        ({"x": np.full((3, 2, 64), "a")}, "bad_shape"),
        ({"scale": np.ones(3)}, "bad_scale"),
        ({"scale": np.array([1.0, 0.0])}, "bad_scale"),
        ({"scale": np.array([1.0, np.nan])}, "bad_scale"),
        ({"scale": "one"}, "unreadable"),
        ({"t": np.zeros(2)}, "bad_shape"),
        ({"t": np.array([0, np.inf, 1])}, "bad_shape"),
        ({"t": "now"}, "unreadable"),
        ({"mult": np.zeros(3)}, "bad_shape"),
        ({"geometry": "SKF"}, "unreadable"),
        ({"rpm": "fast"}, "unreadable"),
        ({"machine": "m" * 20_000}, "oversized"),
    ],
    ids=str,
)
def test_each_defect_has_its_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    assert refusal(write_recording(tmp_path / "a.npz", SIGNAL, **changes)).reason == reason


def test_a_recording_without_a_rate_says_which_key_is_needed(tmp_path: Path) -> None:
    assert "without a sampling rate (key fs)" in str(refusal(write_recording(tmp_path / "a.npz", SIGNAL, fs=None)))


def test_a_pickled_object_is_never_unpacked(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.npz", SIGNAL, machine=np.array([{"a": 1}], dtype=object))
    assert refusal(path).reason == "unreadable"


def test_a_file_that_is_not_there_and_one_that_is_no_archive(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.npz").reason == "missing"
    assert refusal(tmp_path).reason == "unreadable"
    (tmp_path / "text.npz").write_text("hello")
    assert refusal(tmp_path / "text.npz").reason == "unreadable"


def test_an_array_that_promises_more_than_the_file_holds_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.npz", SIGNAL)
    forged = tmp_path / "b.npz"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(forged, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "x.npy":
                content = content.replace(b"(3, 2, 64)", b"(3, 2, 9999999999999)").replace(b" " * 11 + b"\n", b"\n")
            new.writestr(name, content)
    assert refusal(forged).reason in {"unreadable", "bad_shape"}


@dataclass
class Wholes:
    """A plain and a compressed recording."""

    folder: Path
    contents: list[bytes] = field(repr=False)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> "Wholes":
    folder = tmp_path_factory.mktemp("recordings")
    plain = write_recording(folder / "plain.npz", SIGNAL[:1, :, :40])
    with np.load(plain) as keys:
        np.savez_compressed(folder / "deflated.npz", **dict(keys))
    return Wholes(folder, [plain.read_bytes(), (folder / "deflated.npz").read_bytes()])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_or_changed_anywhere_is_read_or_refused(wholes: Wholes, data: st.DataObject) -> None:
    folder = wholes.folder
    whole = wholes.contents[data.draw(st.integers(0, 1))]
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] = data.draw(st.integers(0, 255))
    path = folder / "broken.npz"
    for broken in (bytes(changed), whole[:at]):
        path.write_bytes(broken)
        read_or_refused(path)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.binary(max_size=80) | st.text(max_size=60).map(str.encode), shape=st.text("0123456789,-() L", max_size=12)
)
def test_any_array_head_is_read_or_refused(wholes: Wholes, head: bytes, shape: str) -> None:
    folder, contents = wholes.folder, wholes.contents
    path, source = folder / "forged.npz", folder / "source.npz"
    source.write_bytes(contents[0])
    told = f"{{'descr': '<i2', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    for text in (head, told):
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                forged = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(160)
                new.writestr(name, forged if name == "x.npy" else old.read(name))
        read_or_refused(path)


def test_a_head_written_by_python_2_is_read_without_a_word(wholes: Wholes) -> None:
    path, source = wholes.folder / "python2.npz", wholes.folder / "source.npz"
    source.write_bytes(wholes.contents[0])
    text = b"{'descr': '<i2', 'fortran_order': False, 'shape': (1L, 2L, 40L), }\n"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            forged = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(160)
            new.writestr(name, forged if name == "x.npy" else old.read(name))
    assert read_recording(path).counts.shape == (1, 2, 40)
