"""This file knows the sentences that gateways and the site write in English, and says them in the viewer's language.

A sentence is stored as it was said, for years, by gateways of every age; so it is read back here, by the pattern it was
made from, and its values put into the pattern's translation. What is no sentence of these stays as it is. A test holds
every text of the programs against this table (docs/adr/0020-sentences-are-read-back.md).
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

from dashboard import words
from dashboard.languages import ENGLISH, language, tr

MOST_CHARACTERS = 1500  # of one text; a longer one is none of ours
MOST_SENTENCES = 16  # of one text
MOST_DEEP = 5  # sentences within sentences
JOINT = "; "
SITE = "site"  # who wrote a line of a case's history when no person did

CAUSES = {
    "outer race": "outer", "inner race": "inner", "rolling element": "ball", "cage": "cage", "imbalance": "imbalance",
    "misalignment": "misalignment", "looseness": "looseness", "bent shaft": "bent_shaft", "gear mesh": "gear",
    "electrical": "electrical", "unknown cause": "unknown",
}  # fmt: skip
"""As a gateway's sentence names a cause -> its label."""

_VERDICTS = (
    "{cause} damage likely ({share}): {sentence}",
    "{cause} damage likely ({share}):",
    "vibration pattern {times} times its healthy limit",
    "vibration pattern {times} times its healthy limit, most of it {part} {way} on axis {axis}",
    (
        "vibration pattern {times} times its healthy limit, most of it {part} {way} between {low} and {high} Hz on "
        "axis {axis}"
    ),
    (
        "vibration pattern {times} times its healthy limit, most of it {part} {way} between {low} and {high} Hz "
        "({first} to {last} x shaft speed) on axis {axis}"
    ),
    "zone {zone}: {velocity} mm/s RMS, allowed for a limited time only",
    "zone {zone}: {velocity} mm/s RMS, may cause damage",
    "back within its healthy limits",
)
_BY_HAND = (
    "acknowledged", "shelved", "unshelved", "shelving has ended", "maintenance recorded", "went calm",
    "limit exceeded", "learning anew what healthy is",
)  # fmt: skip
_FINDINGS = (
    "a race's rhythm says that the shaft turns {percent} % off the speed we were told",
    "judged over the last {captures} captures",
    "{cause} is also possible ({share})",
    "{cause} is also possible ({share}): {sentence}",
    "bearing not named: its fault lines can only be searched for; enter the bearing",
    "shaft speed not known: no order can be placed; enter the nameplate speed",
    "{order}x is larger than 1x",
    "{line} has grown by {growth} dB over the healthy baseline and carries {share} of the velocity",
    "{line} has fallen by {growth} dB over the healthy baseline and carries {share} of the velocity",
    "gear mesh has changed by {mesh} dB, its sidebands at shaft speed by {sides} dB over the healthy baseline",
    (
        "everything above {share} of the measured range has risen by about {rise} dB without impacts: something is "
        "pressed or rubs"
    ),
    "impacts follow neither race's rhythm",
    "impacts whose rhythm is no race's",
    "{name} ({order} x shaft, {percent} % from theory) stands {height} dB above the noise of the envelope",
    (
        "{name} ({order} x shaft, {percent} % from theory) stands {height} dB above the noise of the envelope, with "
        "{lines} lines that belong to it"
    ),
    "{name} does not stand out of the envelope",
    (
        "a rhythm of {order} x shaft with sidebands at shaft speed stands {height} dB above the noise of the envelope; "
        "the bearing is not named, so its place was searched"
    ),
    (
        "a rhythm of {order} x shaft without sidebands at shaft speed stands {height} dB above the noise of the "
        "envelope; the bearing is not named, so its place was searched"
    ),
    "the envelope swells at {order} x shaft or its double: a cage's rate",
)
_PROGNOSIS = (
    "too few captures since commissioning to see a trend",
    "no trend: {sentence}",
    "no trend: {sentence}, and no alarm has been up",
    "an alarm has been up, but {sentence}: what is left of a life like the {lives} learnt elsewhere",
    "vibration has not grown since commissioning",
    "healthy scatter explains the course as well ({share} sure of a change, {needed} needed)",
    "vibration stepped by {step} dB and has not grown since; was the sensor moved or the machine run differently?",
    "vibration has grown by {growth} dB, less than the {needed} dB that count here",
    "vibration has grown by {growth} dB over {span}",
    "single values do not foretell a remaining life",
)
_ZONES = (
    "{velocity} mm/s RMS is in zone {zone} (from {low} to below {high}) of {class}",
    (
        "{velocity} mm/s RMS is in zone {zone} (from {low} to below {high}) of {class}; {missing} of {axes} axes not "
        "measured"
    ),
    "{velocity} mm/s RMS is in zone {zone} ({low} and above) of {class}",
    "{velocity} mm/s RMS is in zone {zone} ({low} and above) of {class}; {missing} of {axes} axes not measured",
    "not assessable: sensor {quality}",
    "not assessable: no velocity was measured",
    "not assessable: {missing} of {axes} axes not measured, the others reach {velocity} mm/s",
    "not assessable: {rpm} rpm is below {lowest} rpm, where the standard ends",
    "not assessable: reciprocating machines have their own standard (ISO 10816-6)",
    "not assessable: the table has no class {text}; see its ids",
    "not assessable: the machine's power is unknown; enter power_kw in its nameplate",
    "not assessable: the foundation is unknown; enter rigid or flexible in the nameplate",
    "not assessable: the table has no class for {kind} of {power} kW on a {foundation} foundation",
    "not assessable: the sensor's unit is not calibrated",
    "not assessable: {low} to {high} Hz seen, {from} to {to} Hz needed",
    "not assessable: {low} to {high} Hz measured, {from} to {to} Hz needed",
    "not assessable: the machine stands still",
    "not assessable: the sensor sends no velocity",
    "not assessable: enter velocity_band_hz, the band of the sensor's velocity",
)
_SENSORS = (
    "every axis rattles below and is deaf above: the mounting has let go",
    "believed again once it reads healthy",
    "another rate, length or number of axes than commissioned",
    "axes {list} have changed places; put the sensor or its wiring right",
    "every axis louder or softer alike ({gains}): check sensitivity and unit of the sensor",
    "whole axes moved and kept their shape ({gains}): sensor re-mounted; the baseline moved with it",
    "channel {channel}: {sentence}",
    "{bad} of {all} samples are not finite",
    "all {all} samples are {value}",
    "{run} equal samples in a row of {all}",
    "{flat} samples in flat tops of {least} or more equal ones",
    "{bad} of {all} samples at full scale",
    "high frequencies at {share} of the baseline, low ones {times}-fold",
    "{share} of the power is slow drift over {length} s",
    "{share} of the power at {frequency} Hz and its harmonics",
)
_NOTICES = (
    "the machine runs again",
    "captures can be believed again",
    "the sensor is heard again",
    "silent: nothing heard for {since} s, usually every {usual} s",
    "{quality}",
    "{quality}: {sentence}",
    "ready: healthy limits from {captures} captures",
    "maintenance recorded: learning anew",
    "nameplate changed: {changes}; limits stay",
    (
        "nameplate changed: {changes}; healthy pictures of shaft, gear and motor lines are drawn anew from {captures} "
        "healthy captures; limits stay"
    ),
    (
        "commissioning captures already show damage ({cause}, {share}): what was learnt as healthy is not; repair the "
        "machine, then record maintenance to commission again"
    ),
    (
        "commissioning captures scatter {times} times as much as those of healthy machines elsewhere, so the limit is "
        "wide; check mounting and running, then record maintenance"
    ),
    (
        "commissioning captures fall into two groups of {many} and {few} that have little in common: kept as two "
        "operating states; if they are two machines, record maintenance to commission again"
    ),
    "ready: ISO zone and set limits of single values; no pattern is learnt, no cause is named",
    "nothing judges these single values ({sentence}); complete the nameplate or set limits",
    "{quantity} {value} {unit}, its {priority} limit is {limit}",
)
_OF_THE_SITE = (
    "{quantity} {value} is above the plant's own limit of {limit} ({source})",
    "{quantity} {value} {unit} is above the plant's own limit of {limit} {unit_again} ({source})",
    "{quantity} {value} is back below the plant's own limit",
    "{quantity} {value} {unit} is back below the plant's own limit",
    "the plant's own limit was taken away",
    "all points are back to normal",
    "maintenance done",
    "the time on the shelf is over",
    "worse while on the shelf: {priority}",
    "{point}: {priority}: {sentence}",
    "{point}: {state}: {sentence}",
    "{point}: was {state} in between: {sentence}",
    "{point}: sensor {state}: {sentence}",
    "{point}: {sentence}",
    "{point}: worse since acknowledged",
    "{point}: new since acknowledged",
    "{point}: {priority} has become {priority_now}",
    "points learn anew",
    "asked for spectra",
    "alarm {identity}",
    "asked for by {actor}: {note}",
    "asked for by {actor}: no reason given",
)
_ANSWERS = (
    "the case is closed already",
    "shelving needs a reason",
    "shelving for {hours} h was asked for, more than 0 and at most 12 h are allowed",
    "a danger cannot be shelved before somebody has acknowledged it",
    "nothing to acknowledge, the alarm is {state}",
    "evidence is on its way",
    "learnt from: {label}",
    "noted: {label}",
    "noted",
    "running release {version} again",
    "point {point} is not known here; it has sent nothing yet",
    "no raw capture of this point is kept any more",
    "this sensor sends single values: there is no spectrum behind them",
    "this capture is no longer kept: raw captures leave the gateway by size and age",
    "the newest capture shows a sensor that is {quality}: {sentence}",
    "this capture shows a sensor that is {quality}: {sentence}",
)
_RELEASES = (
    "learnt, and not tried yet",
    "no gateway has been heard yet",
    "waits for {gateways} to judge it on what they held back",
    "scored beside the one in use on {gateways}: {count} of {needed} captures, {age} of {wanted} s",
    "waits for {gateways} to run it",
    "away: {gateways}",
    "runs on {count} of {needed} gateways for {age} of {wanted} s",
    "no worse on the hold-outs of {count} of {needed} gateways",
    "nobody could judge it",
    "{count} of {needed} healthy captures exceed, {others} by the other release",
    "with {count} gateway nobody can go first: it was scored beside the one in use only",
    "{count} gateways are too few for further stages",
    "everywhere, and still watched",
    "paused by a person",
    "promoted by a person",
    "the rollout has ended",
    "AUROC on synthetic faults {auroc} against {in_use} of the release in use, {loss} less allowed",
    "loss on healthy captures {count} against {in_use} of the release in use, {times} times allowed",
    "{count} of {needed} healthy captures exceed their limit, {others} of the same by the other release",
    "that is no chance",
    "{count} captures could not be scored by it",
    "on gateway {gateway} {sentence}",
    "gateway {gateway} refused it: {text}",
    "gateway {gateway} was started {count} times since it came, {allowed} allowed",
    "{count} healthy captures could be held back, {needed} needed to judge a candidate",
    "a loss is not finite",
    "taken back by {actor}: {note}",
    "nothing to go back to",
    "runs release {count}, newer than any of this site",
    "the next release goes above it",
    "next stage asked for",
    "roll-back asked for: {note}",
    "roll-back wanted by the first of two people: {note}",
    "release {count} is taken back once a second person asks for it within {minutes} minutes",
    "it goes no further until then",
    "release {count} again, before its time is over",
    "release {count} is taken back",
    "the one before goes out again as a new release",
    "release {count} goes to its next stage",
    "what speaks against it still counts",
    "rollout of release {count} paused",
    "rollout of release {count} resumed",
    "paused",
    "resumed",
)
SENTENCES = tuple(
    sorted(
        (*_VERDICTS, *_BY_HAND, *_FINDINGS, *_PROGNOSIS, *_ZONES, *_SENSORS, *_NOTICES, *_OF_THE_SITE, *_ANSWERS,
         *_RELEASES),
        key=len, reverse=True,
    )
)  # fmt: skip
"""Patterns, as the programs write them, the one that says most first; `{sentence}` is one of them again, or several."""

TERMS: dict[str, tuple[str, ...]] = {
    "line": (
        "1x together with 2x", "harmonics and half orders", "twice line frequency ({frequency} Hz)", "{order}x",
    ),
    "part": ("the level of a broad band", "impacts (envelope)", "a narrow band"),
    "way": ("up", "down"),
    "span": ("{count} days", "{count} hours", "{count} minutes", "{count} s"),
    "gains": ("axis {axis} {gain} dB",),
    "kind": ("general", "pump", "critical_pump", "fan", "reciprocating"),
    "foundation": ("rigid", "flexible"),
    "quantity": ("velocity", "acceleration", "envelope", "crest factor", "temperature", "kurtosis"),
    "priority": ("danger", "alert", "notice", "sensor"),
    "priority_now": ("danger", "alert", "notice", "sensor"),
}  # fmt: skip
"""What may stand in a place of that name, as patterns."""

_LISTED = {"gains": ", "}
QUALITIES = (
    "ok", "machine_stopped", "non_finite", "stuck", "saturated", "ski_slope", "mains_hum", "loose", "remounted",
    "wrong_gain", "axes_swapped", "changed_layout", "silent",
)  # fmt: skip
STATES = ("normal", "unacknowledged", "acknowledged", "returned", "latched", "shelved", "suppressed")
_CODES: dict[str, tuple[tuple[str, ...], Callable[[str], str]]] = {
    "cause": (tuple(CAUSES), lambda name: words.cause(CAUSES[name])),
    "quality": (QUALITIES, words.quality),
    "state": (STATES, words.alarm_state),
}
_FREE = {
    "sentence": ".+", "source": ".+", "note": ".+", "changes": ".+", "name": "[A-Za-z0-9-]+", "list": "[0-9 and]+",
    "identity": "[0-9a-f]+", "label": "[a-z_]+", "actor": "[^:]+", "class": "[^;]+", "text": "[^;]+", "unit": "[^;(]+",
    "unit_again": "[^;(]+", "zone": "[A-D]", "gateway": "[A-Za-z0-9-]+",
    "gateways": "[A-Za-z0-9-]+(?:, [A-Za-z0-9-]+)*", "point": r"[a-z0-9-]+/[a-z0-9-]+(?::[a-z_0-9]+)?",
}  # fmt: skip
_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|inf|nan)%?"


@dataclass(frozen=True, slots=True)
class Read:
    """One sentence that was recognised: its pattern, and what stands in its places."""

    pattern: str
    values: tuple["Value", ...]
    capital: bool = False


Value = tuple[str, str | tuple[str | Read, ...]]
"""Name of a place, and what stands there."""


def said(text: str) -> str:
    """Say a sentence of a gateway or the site in the viewer's language, as far as it is one of ours."""
    if language() == ENGLISH:
        return text
    return JOINT.join(_told(part) for part in read(text))


def told(actor: str, text: str) -> str:
    """The same of a line of a history: what the site wrote itself; what a person wrote stays as they wrote it."""
    return said(text) if actor == SITE else text


@lru_cache(maxsize=4096)
def read(text: str, deep: int = 0) -> tuple[str | Read, ...]:
    """Take a text apart into sentences; what is none stays text."""
    if not text or len(text) > MOST_CHARACTERS or text.count(JOINT) >= MOST_SENTENCES or deep > MOST_DEEP:
        return (text,)
    ends = [len(text), *(found.start() for found in reversed(list(re.finditer(JOINT, text))))]
    for wholly in (True, False):
        for end in ends:  # the longest first: a sentence may hold a `;` itself
            one = _recognised(text[:end].rstrip(), SENTENCES, deep, wholly=wholly)
            if one is not None:
                return (one, *read(text[end + len(JOINT) :], deep)) if end < len(text) else (one,)
    first = ends[-1]
    return (text,) if first == len(text) else (text[:first], *read(text[first + len(JOINT) :], deep))


def _recognised(text: str, patterns: tuple[str, ...], deep: int, *, wholly: bool) -> Read | None:
    lowered = text[:1].lower() + text[1:]
    for form in dict.fromkeys((text, lowered)):
        for pattern in patterns:
            found = _expression(pattern).fullmatch(form)
            values = None if found is None else _values(found.groupdict(), deep, wholly=wholly)
            if values is not None:
                return Read(pattern, values, capital=form != text)
    return None


def _values(found: dict[str, str], deep: int, *, wholly: bool) -> tuple[Value, ...] | None:
    """What stands in the places; None when it cannot stand there, or is no sentence `wholly`."""
    values: list[Value] = []
    for name, text in found.items():
        if name == "sentence":
            within = read(text, deep + 1)
            strange = [isinstance(part, str) for part in within]
            if all(strange) or (wholly and any(strange)):
                return None
            values.append((name, within))
        elif name in TERMS:
            parts = text.split(_LISTED[name]) if name in _LISTED else [text]
            terms = [_recognised(part, TERMS[name], deep, wholly=wholly) for part in parts]
            if None in terms:
                return None
            values.append((name, tuple(term for term in terms if term is not None)))
        else:
            values.append((name, text))
    return tuple(values)


def _told(part: str | Read) -> str:
    if isinstance(part, str):
        return part
    values: dict[str, str] = {}
    for name, value in part.values:
        if not isinstance(value, str):
            values[name] = _LISTED.get(name, JOINT).join(_told(one) for one in value)
        else:
            values[name] = _CODES[name][1](value) if name in _CODES else value
    text = tr(part.pattern, **values)
    return text[:1].upper() + text[1:] if part.capital else text


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    parts = []
    for literal, name, _, _ in string.Formatter().parse(pattern):
        parts.append(re.escape(literal))
        if name is not None:
            parts.append(f"(?P<{name}>{_place(name)})")
    return re.compile("".join(parts), re.DOTALL)


def _place(name: str) -> str:
    if name in TERMS:
        forms = [re.sub(r"\\{\w+\\}", lambda _: _NUMBER, re.escape(term)) for term in TERMS[name]]
        one = f"(?:{'|'.join(forms)})"
        return f"{one}(?:{_LISTED[name]}{one})*" if name in _LISTED else one
    if name in _CODES:
        return "|".join(re.escape(code) for code in sorted(_CODES[name][0], key=len, reverse=True))
    return _FREE.get(name, _NUMBER)
