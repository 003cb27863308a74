"""Foreign samples become counts: int16 as they are, everything else without clipping and with a stated error."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateway_agent.foreign.errors import ForeignRejected
from gateway_agent.foreign.places import Document, open_json
from gateway_agent.foreign.settings import Checksum, Waveform
from gateway_agent.foreign.waveform import Samples, read_samples
from tests.support.foreign import base64_of


def _wave(**settings) -> Waveform:
    return Waveform.model_validate(
        {"encoding": "numbers", "rate": {"value": 6400, "unit": "Hz"}, "unit": "g", **settings}
    )


def _read(tree: object, wave: Waveform, order: str = "little") -> Samples:
    return read_samples(open_json(json.dumps(tree).encode(), {}, order), wave, None)  # type: ignore[arg-type]


def _refused(tree: object, wave: Waveform) -> str:
    with pytest.raises(ForeignRejected) as caught:
        _read(tree, wave)
    return caught.value.reason


@given(hnp.arrays(np.float64, (2, 40), elements=st.floats(-1e4, 1e4, allow_nan=False)))
def test_rounding_never_clips_and_errs_by_no_more_than_it_says(signal_g):
    read = _read({"x": signal_g[0].tolist(), "y": signal_g[1].tolist()}, _wave(axes=["x", "y"]))
    error_g = np.abs(read.counts * read.scale_g[:, None] - signal_g).max(axis=1)
    peak_g = np.abs(signal_g).max(axis=1)
    assert (error_g <= read.error_g * (1 + 1e-9)).all()
    assert (read.error_g <= np.maximum(peak_g / 65_534, 1e-12) * (1 + 1e-9)).all()


@given(hnp.arrays(np.int16, 64), st.sampled_from(["little", "big"]))
def test_counts_of_int16_are_kept_bit_for_bit_with_the_sensors_scale(counts, order):
    text = base64_of(counts, {"little": "<i2", "big": ">i2"}[order])
    read = _read({"b": text, "lsb": 0.061}, _wave(samples="b", encoding="i16", unit="mg", scale="lsb"), order)
    assert (read.counts[0] == counts).all()
    assert (read.scale_g[0], read.error_g[0]) == (pytest.approx(0.000061), 0.0)


@pytest.mark.parametrize("kind", ["i32", "f32", "f64"])
def test_wider_samples_in_base64_are_rounded(kind):
    values = np.arange(-20, 20) * 100
    dtype = {"i32": "<i4", "f32": "<f4", "f64": "<f8"}[kind]
    read = _read({"b": base64_of(values, dtype)}, _wave(samples="b", encoding=kind, unit="m/s2", scale=0.1))
    assert read.counts[0] * read.scale_g[0] == pytest.approx(values * 0.1 / 9.80665, abs=read.error_g[0] * 1.01)


XYZ = np.arange(120).reshape(3, 40)


@pytest.mark.parametrize(
    ("tree", "layout"),
    [
        (XYZ.tolist(), "planar"), (XYZ.ravel().tolist(), "planar"),
        (XYZ.T.tolist(), "interleaved"), (XYZ.T.ravel().tolist(), "interleaved"),
    ],
    ids=["list of axes", "axis after axis", "list of samples", "sample after sample"],
)  # fmt: skip
def test_axes_are_told_apart_in_every_layout(tree, layout):
    read = _read({"d": tree}, _wave(samples="d", channels=3, layout=layout))
    assert read.counts * read.scale_g[:, None] == pytest.approx(XYZ, abs=0.002)


def test_each_axis_may_have_its_own_scale():
    read = _read({"d": [[100.0] * 32, [100.0] * 32]}, _wave(samples="d", channels=2, scale=[0.01, 0.02]))
    assert (read.counts * read.scale_g[:, None]).max(axis=1) == pytest.approx([1.0, 2.0])


def test_volts_become_g_by_the_sensitivity():
    read = _read({"d": [0.5] * 32}, _wave(samples="d", unit="V", mv_per_g=100.0))
    assert read.counts[0, 0] * read.scale_g[0] == pytest.approx(5.0)


def test_binary_samples_end_before_the_checksum_or_after_their_count():
    content = b"head" + np.arange(40, dtype="<i2").tobytes() + b"\0\0\0\0"
    wave = Waveform.model_validate(
        {"starts_at": 4, "encoding": "i16", "rate": {"value": 6400, "unit": "Hz"}, "unit": "g"}
    )
    by_checksum = read_samples(Document(content, None, {}), wave, Checksum(kind="crc32", at=-4))
    by_count = read_samples(
        Document(content, None, {}), wave.model_copy(update={"count": _wave(samples="d", count=40).count}), None
    )
    assert by_checksum.counts.tolist() == by_count.counts.tolist() == [list(range(40))]


REFUSED = {
    "text": ({"d": "no list"}, {}, "bad_samples"),
    "missing": ({}, {}, "missing_field"),
    "truth": ({"d": [1.0, True]}, {}, "bad_samples"),
    "texts": ({"d": ["1", "2"]}, {}, "bad_samples"),
    "null": ({"d": [1.0, None]}, {}, "bad_samples"),
    "ragged": ({"d": [[1.0, 2.0], [3.0]]}, {"channels": 2}, "bad_samples"),
    "deeper": ({"d": [[[1.0]], [[2.0]]]}, {"channels": 2}, "bad_samples"),
    "huge number": ({"d": [10**400]}, {}, "bad_samples"),
    "beyond any sensor": ({"d": [1e300, 1.0]}, {}, "bad_samples"),
    "half a sample": ({"d": [1.0] * 31}, {"channels": 2}, "bad_samples"),
    "too few": ({"d": [1.0] * 31}, {"count": 32}, "truncated"),
    "no base64": ({"d": "a!"}, {"encoding": "i16"}, "bad_samples"),
    "odd bytes": ({"d": "AAAA"}, {"encoding": "i16"}, "bad_samples"),
    "nan inside": ({"d": base64_of(np.array([1.0, np.nan]), "<f4")}, {"encoding": "f32"}, "bad_samples"),
    "no scale": ({"d": [1.0]}, {"scale": "lsb"}, "missing_field"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_samples_that_are_none_are_refused(case):
    tree, settings, reason = REFUSED[case]
    assert _refused(tree, _wave(samples="d", **settings)) == reason


def test_axes_of_different_lengths_are_refused():
    assert _refused({"x": [1.0] * 32, "y": [1.0] * 31}, _wave(axes=["x", "y"])) == "unequal_axes"
