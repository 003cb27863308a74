"""A mapping that cannot work is refused when the settings are checked, with what is allowed."""

from pathlib import Path
from typing import Any

import pydantic
import pytest

from gateway_agent.command import main
from gateway_agent.settings import GatewaySettings
from schemas.errors import TopicError
from schemas.foreign_topics import check_foreign_filter, filters_overlap
from tests.support.foreign import EXAMPLE, mapping_of

SCALAR: dict[str, Any] = {
    "name": "levels", "topic": "maker/{machine}/{position}", "format": "json", "identity": "time",
    "time": {"path": "ts", "form": "epoch_s"}, "readings": {"velocity_rms": {"path": "v", "unit": "mm/s"}},
}  # fmt: skip
WAVE: dict[str, Any] = {
    "name": "wave", "topic": "maker/{device}/wave", "points": {"A1": "pump-07/de"}, "format": "json",
    "identity": "payload",
    "waveform": {"axes": ["x"], "encoding": "numbers", "rate": {"value": 6400, "unit": "Hz"}, "unit": "g"},
}  # fmt: skip
BYTES: dict[str, Any] = {
    **WAVE, "format": "binary",
    "waveform": {"starts_at": 8, "encoding": "i16", "rate": {"value": 6400, "unit": "Hz"}, "unit": "mg"}
}  # fmt: skip


@pytest.mark.parametrize("base", [SCALAR, WAVE, BYTES], ids=["scalar", "json", "binary"])
def test_smallest_mappings_are_taken(base):
    assert mapping_of(base).name == base["name"]


def _wave(**changes: Any) -> dict[str, Any]:
    return {"waveform": {k: v for k, v in {**WAVE["waveform"], **changes}.items() if v is not None}}


REFUSED = {
    "wildcard first": (SCALAR, {"topic": "+/{machine}/{position}"}, "a wildcard would read everybody's"),
    "our own tree": (SCALAR, {"topic": "ut/{machine}/{position}"}, "our own tree"),
    "all below": (SCALAR, {"topic": "maker/{machine}/{position}/#"}, "level 4 is '#'"),
    "broker's own": (SCALAR, {"topic": "$SYS/{machine}/{position}"}, "level 1 is '$SYS'"),
    "line break": (SCALAR, {"topic": "maker/{machine}/{position}\ntopic write #"}, "fills a whole level or none"),
    "half a level": (SCALAR, {"topic": "maker/m-{machine}/{position}"}, "fills a whole level or none"),
    "name twice": (SCALAR, {"topic": "maker/{machine}/{machine}"}, "binds a name twice"),
    "no position": (SCALAR, {"topic": "maker/{machine}/x"}, "position must be known once"),
    "machine twice": (SCALAR, {"machine": "pump-07"}, "machine must be known once"),
    "device without points": (WAVE, {"points": None}, "device found without points"),
    "points without device": (SCALAR, {"points": {"A": "pump-07/de"}}, "points found without a device"),
    "device twice": (WAVE, {"device": "id"}, "keep one"),
    "device and machine": (WAVE, {"machine": "pump-07"}, "name machine and position already"),
    "unsafe point": (WAVE, {"points": {"A": "Pump 7/de"}}, "lower-case letters"),
    "counter alone": (WAVE, {"identity": "counter", "sequence": "n"}, "a counter alone starts anew with the sensor"),
    "time without clock": (WAVE, {"identity": "time"}, "needs time"),
    "steady readings": (SCALAR, {"identity": "payload"}, "somewhat less than the sensor's interval"),
    "window without need": (SCALAR, {"repeats_after_s": 10.0}, "belongs to identity"),
    "neither nor": (SCALAR, {"readings": None}, "exactly one of"),
    "both": (WAVE, {"readings": SCALAR["readings"], "repeats_after_s": 9.0}, "exactly one of"),
    "nothing read": (SCALAR, {"readings": {"kurtosis": "k"}}, "readings without"),
    "velocity waveform": (WAVE, _wave(unit="mm/s"), "a waveform is acceleration"),
    "volts without sensitivity": (WAVE, _wave(unit="V"), "mv_per_g belongs to V"),
    "two scales for one axis": (WAVE, _wave(scale=[1.0, 2.0]), "2 scales found; 1 or 1"),
    "no samples": (WAVE, _wave(axes=None), "exactly one of axes, samples, starts_at"),
    "axes of a flat list": (WAVE, _wave(channels=3), "channels and layout belong to"),
    "numbers in bytes": (
        BYTES, {"waveform": {**BYTES["waveform"], "encoding": "numbers"}}, "encoding numbers is a JSON list",
    ),
    "path in bytes": (BYTES, {"rpm": {"path": "a", "unit": "rpm"}}, "rpm has a path"),
    "offset in json": (WAVE, {"rpm": {"at": 4, "type": "u16", "unit": "rpm"}}, "rpm has at"),
    "offset without type": (BYTES, {"rpm": {"at": 4, "unit": "rpm"}}, "at and type belong together"),
    "two places": (WAVE, {"rpm": {"path": "a", "value": 3.0, "unit": "rpm"}}, "path and value found; exactly one"),
    "unbound level": (WAVE, {"rpm": {"level": "speed", "unit": "rpm"}}, "names level 'speed'"),
    "checksum of json": (WAVE, {"checksum": {"kind": "crc32", "at": -4}}, "a checksum belongs to"),
    "fragments by path": (WAVE, {"fragments": {"message": "m", "index": "i", "count": "n"}}, "a piece is no JSON"),
    "limits the wrong way": (
        SCALAR, {"readings": {**SCALAR["readings"], "limits": {"temperature_c": [90.0, 80.0]}}},
        "the second above the first",
    ),
    "eval": (SCALAR, {"readings": {"velocity_rms": {"path": "__import__('os')[x]", "unit": "mm/s"}}}, "keys with dots"),
    "unknown key": (SCALAR, {"colour": "red"}, "Extra inputs are not permitted"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_mapping_that_cannot_work_is_refused(case):
    base, changes, words = REFUSED[case]
    with pytest.raises(pydantic.ValidationError) as caught:
        mapping_of(base, **changes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({**SCALAR, "topic": "other/{machine}/{position}"}, "two [[foreign]] tables are called 'levels'"),
        ({**SCALAR, "name": "b", "topic": "maker/+/{position}", "machine": "pump-07"}, "would both read topics"),
    ],
    ids=["name", "topic"],
)
def test_tables_that_contradict_each_other_are_refused(other, words):
    with pytest.raises(pydantic.ValidationError) as caught:
        _settings(SCALAR, other)
    assert words in str(caught.value)


def test_a_point_cannot_have_single_values_and_waveforms():
    scalar = {**SCALAR, "topic": "maker/levels", "machine": "pump-07", "position": "de"}
    with pytest.raises(pydantic.ValidationError, match="pump-07/de cannot have both single values and waveforms"):
        _settings(scalar, WAVE)


def _settings(*tables: dict[str, Any]) -> GatewaySettings:
    broker = {"allow_anonymous": True}
    return GatewaySettings.model_validate({"site": "a", "gateway": "gw-1", "broker": broker, "foreign": tables})


def test_a_wrong_mapping_is_told_by_check_settings_with_its_place(tmp_path: Path, capsys):
    wrong = tmp_path / "gateway.toml"
    wrong.write_text(EXAMPLE.read_text().replace('unit = "degF"', 'unit = "F"'))
    assert main(["run", "--check-settings", "--settings", str(wrong)]) == 2
    assert "foreign.0.temperature: Value error, unit 'F' found; degC, degF, K allowed here" in capsys.readouterr().err


@pytest.mark.parametrize(
    "topic",
    [
        "one",
        "a//b",
        "a/b c",
        "a/#",
        "#",
        "+/b",
        "ut/v1/x",
        "a/b+",
        "a/" + "b" * 65,
        "/".join("a" * 17),
        "a/\nb",
        "a/%u",
    ],
)
def test_topic_that_could_do_harm_in_an_access_list_is_refused(topic):
    with pytest.raises(TopicError):
        check_foreign_filter(topic)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("a/+/c", "a/b/+", True),
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b/c", False),
        ("a/+/c", "a/b/d", False),
    ],
)
def test_filters_overlap_when_one_topic_fits_both(one, other, overlap):
    assert filters_overlap(one, other) is overlap
