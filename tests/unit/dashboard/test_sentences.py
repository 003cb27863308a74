"""Sentences of gateways and the site are read back whole, and said in German; nobody's own words are touched."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import gateway_agent
import vibration
from aggregator import cases
from dashboard.languages import LANGUAGES, catalogue, speaking
from dashboard.sentences import MOST_CHARACTERS, QUALITIES, SENTENCES, STATES, TERMS, Read, read, said, told
from gateway_agent.diagnosis_words import label_name
from gateway_agent.explanation import contributions, reason
from gateway_agent.foreign.reading_judge import JUDGED_BY
from gateway_agent.sensor_change import SensorChange
from schemas.messages import Contribution, Diagnosis, Finding
from vibration.iso_zones import Nameplate, zone
from vibration.quality import Verdict

GATEWAY, PHYSICS = Path(gateway_agent.__file__).parent, Path(vibration.__file__).parent
SITE = Path(cases.__file__).parent
PATTERNS = (*SENTENCES, *(term for terms in TERMS.values() for term in terms))

WRITTEN_IN = (
    GATEWAY / "explanation.py", GATEWAY / "diagnosis.py", GATEWAY / "diagnosis_words.py",
    GATEWAY / "diagnosis_shaft.py", GATEWAY / "diagnosis_bearing.py", GATEWAY / "prognosis.py",
    GATEWAY / "point_monitor.py", GATEWAY / "operating_states.py", GATEWAY / "sensor_change.py",
    GATEWAY / "foreign" / "reading_judge.py",
    GATEWAY / "alarm.py", GATEWAY / "commands.py", GATEWAY / "silence.py",
    PHYSICS / "iso_zones.py", PHYSICS / "quality.py", SITE / "own_limits.py", SITE / "cases.py",
    SITE / "rollout_plan.py", SITE / "rollout.py", SITE / "desk_rollout.py", GATEWAY / "acceptance.py",
)  # fmt: skip
"""Where sentences are made that reach a page."""

NOT_SHOWN = {"by its geometry", "measured with the capture", "without an id"}
"""What stands within a list of changes, or reaches no page."""


def _plain(text: str) -> str:
    """A pattern or f-string with every value as one mark."""
    return re.sub(r"\{[^{}]*\}", "\0", text)


def _made_in(path: Path) -> Iterator[str]:
    """Every text of three words or more in a module, but docstrings and what is raised."""
    tree = ast.parse(path.read_text("utf-8"))
    left_out: set[ast.AST] = set()
    for node in ast.walk(tree):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or isinstance(node, ast.Raise | ast.Assert):
            left_out |= set(ast.walk(node))
        if isinstance(node, ast.JoinedStr):
            left_out |= set(ast.walk(node)) - {node}
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if len(re.findall(r"[a-z]{2,}", text)) >= 3:
            yield text


@pytest.mark.parametrize("path", WRITTEN_IN, ids=lambda path: path.name)
def test_every_sentence_in_the_programs_is_in_the_table(path: Path) -> None:
    whole = "\1".join(_plain(pattern) for pattern in PATTERNS).lower()
    missing = [
        text for text in _made_in(path)
        if text not in NOT_SHOWN
        and any(
            piece.strip(" ;:,.()").lower() not in whole
            and any(part.strip(" :,.()").lower() not in whole for part in piece.split("; "))
            for piece in text.split("\0") if len(piece.split()) > 2
        )
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize("code", sorted(set(LANGUAGES) - {"en"}))
def test_every_pattern_has_a_translation(code: str) -> None:
    assert [pattern for pattern in PATTERNS if pattern not in catalogue(code)] == []


def whole(text: str) -> bool:
    """Whether all of a text was recognised, and every sentence in it."""

    def known(part: object) -> bool:
        if not isinstance(part, Read):
            return False
        return all(all(known(one) for one in value) for _, value in part.values if not isinstance(value, str))

    return all(known(part) for part in read(text))


def german(text: str) -> str:
    with speaking("de"):
        return said(text)


@pytest.mark.parametrize("velocity", [0.5, 2.0, 3.5, 12.0, [1.0, float("nan")], [9.0, float("nan")], [float("nan")]])
@pytest.mark.parametrize(
    "plate",
    [Nameplate(30.0, "rigid"), Nameplate(None, "rigid"), Nameplate(30.0), Nameplate(1e9, "rigid", "fan"),
     Nameplate(30.0, "rigid", rpm=90.0), Nameplate(30.0, kind="reciprocating"), Nameplate(machine_class="none")],
)  # fmt: skip
def test_every_verdict_of_a_zone_is_read(velocity: float | list[float], plate: Nameplate) -> None:
    text = zone(velocity, plate).reason
    assert whole(text), text
    assert german(text) != text


def test_a_reason_of_everything_at_once_is_said_in_german() -> None:
    shares = (Contribution(name="envelope up", axis=0, low_hz=2000.0, high_hz=4000.0, share=0.5),)
    proof = "BPFO (3.58 x shaft, -0.4 % from theory) stands 12 dB above the noise of the envelope"
    text = reason(
        score=5.0, limit=1.0, zone="D", velocity_mm_s=12.3, ranked=(Diagnosis(label="outer", confidence=0.8),),
        findings=(Finding(label="outer", speaks_for=True, text=proof),), shares=shares, rpm=1480.0,
    )  # fmt: skip
    assert whole(text), text
    assert german(text) == (
        "Schaden am Außenring wahrscheinlich (80%): BPFO (3.58 × Drehfrequenz, -0.4 % neben der Theorie) steht 12 dB "
        "über dem Rauschen der Hüllkurve; Schwingungsmuster beim 5.0-fachen seines gesunden Grenzwerts, am meisten "
        "Stöße (Hüllkurve) höher zwischen 2000 und 4000 Hz (81.1 bis 162.2 × Drehfrequenz) auf Achse 1; "
        "Zone D: 12.3 mm/s RMS, kann Schaden verursachen"
    )


@pytest.mark.parametrize("label", ["outer", "inner", "ball", "cage", "imbalance", "misalignment", "looseness",
                                   "bent_shaft", "gear", "electrical"])  # fmt: skip
@pytest.mark.parametrize("kind", ["level", "envelope", "spectrum"])
def test_every_cause_and_every_part_of_a_score_is_read(label: str, kind: str) -> None:
    for way, low_hz, rpm in (("up", 10.0, 1480.0), ("down", 10.0, None), ("up", None, None)):
        share = Contribution(name=f"{kind} {way}", axis=2, low_hz=low_hz, high_hz=low_hz and 2 * low_hz, share=1.0)
        text = reason(
            score=2.0, limit=1.0, zone="A", velocity_mm_s=1.0, ranked=(Diagnosis(label=label, confidence=0.7),),
            findings=(), shares=(share,), rpm=rpm,
        )  # fmt: skip
        assert whole(text), text
        assert label_name(label).lower() not in german(text).lower()


@pytest.mark.parametrize("kind", ["remounted", "wrong_gain", "axes_swapped"])
def test_every_change_of_a_sensor_is_read(kind: str) -> None:
    change = SensorChange(kind, None, (3.0, -1.5, 0.0), (1, 0, 2), 0.0, 0.0)  # type: ignore[arg-type]
    assert whole(change.text()), change.text()


@pytest.mark.parametrize(
    "text",
    [
        ("no trend: vibration stepped by 5 dB and has not grown since; was the sensor moved or the machine run "
        "differently?, and no alarm has been up"),
        ("an alarm has been up, but healthy scatter explains the course as well (41% sure of a change, 99% needed): "
        "what is left of a life like the 17 learnt elsewhere"),
        "vibration has grown by 9 dB over 5 days",
        "loose: channel 0: high frequencies at 1.2% of the baseline, low ones 13.0-fold",
        "saturated",
        f"ready: {JUDGED_BY}; no pattern is learnt, no cause is named",
        ("ready: healthy limits from 40 captures; commissioning captures scatter 5 times as much as those of healthy "
        "machines elsewhere, so the limit is wide; check mounting and running, then record maintenance"),
        ("nothing judges these single values (not assessable: the sensor sends no velocity); complete the nameplate or "
        "set limits"),
        "Maintenance recorded; learning anew what healthy is",
        "nameplate changed: rpm 1480 → 2960, bearing 6205 → 6203; limits stay",
        "velocity 4.6 mm/s RMS is above the plant's own limit of 4.5 mm/s RMS (maker's manual (2019); page 3)",
        "crest factor 7.1 is above the plant's own limit of 6 (our own)",
        "pump-07/de:temperature_c: unacknowledged: temperature 91 °C is above the plant's own limit of 90 °C (maker)",
        "pump-07/de: danger: Zone D: 12.3 mm/s RMS, may cause damage",
        "pump-07/de: alert has become danger",
        ("Imbalance is also possible (20%): 1x together with 2x has grown by 12 dB over the healthy baseline and "
        "carries 80% of the velocity"),
    ],
)  # fmt: skip
def test_sentences_within_sentences_are_read_whole(text: str) -> None:
    assert whole(text)
    assert german(text) != text


def test_all_qualities_and_alarm_states_are_known() -> None:
    assert set(get_args(Verdict)) <= set(QUALITIES)
    assert all(whole(f"not assessable: sensor {quality}") for quality in QUALITIES)
    assert all(whole(f"nothing to acknowledge, the alarm is {state}") for state in STATES)


@pytest.mark.parametrize("text", ["", "the pump sounds odd", "{cause} {0.__class__}", "a; b; c", "x" * 5000,
                                  "; ; ;", "Zone E: 1 mm/s RMS, may cause damage",
                                  "outer race damage likely (very): so"])  # fmt: skip
def test_what_is_no_sentence_of_ours_stays_as_it_is(text: str) -> None:
    assert german(text) == text


def test_a_sentence_beside_foreign_words_is_said_and_the_words_stay() -> None:
    assert german("something else; went calm") == "something else; wieder ruhig"


def test_what_a_person_wrote_stays_as_they_wrote_it() -> None:
    with speaking("de"):
        assert (told("anna", "went calm"), told("site", "went calm")) == ("went calm", "wieder ruhig")


def test_in_english_every_text_is_said_as_it_was_stored() -> None:
    with speaking("en"):
        assert said("went calm") == "went calm"


@pytest.mark.parametrize("piece", ["a: ", "; ", "(", "pump/de: ", "channel 1: ", "no trend: ", "1x ", "loose: "])
def test_a_hostile_text_takes_no_time(piece: str) -> None:
    text = (piece * MOST_CHARACTERS)[:MOST_CHARACTERS]
    assert isinstance(read(text), tuple)


def test_contributions_of_the_score_are_named_as_the_table_knows_them() -> None:
    import numpy as np

    from vibration.detection_features import DETECTION_COUNT

    parts = contributions(np.ones((1, DETECTION_COUNT)), np.ones((DETECTION_COUNT, 2)))
    assert {part.name.split()[0] for part in parts} <= {"level", "envelope", "spectrum"}
