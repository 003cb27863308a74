"""This file knows the words of notices, in the plant's language: which machine, how bad, why, and where to look.

Nothing measured goes into them: they leave the plant by mail, chat and text message. A name is one line of plain text
whatever it contains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

Language = Literal["en", "de"]
LONGEST_NAME = 120
NAMED_IN_SUMMARY = 5

_PRIORITY: Mapping[Language, Mapping[str, str]] = {
    "en": {"danger": "Danger", "alert": "Alert", "notice": "Notice", "sensor": "Sensor problem"},
    "de": {"danger": "Gefahr", "alert": "Warnung", "notice": "Hinweis", "sensor": "Sensorproblem"},
}
_CAUSE: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "outer": "outer race damage", "inner": "inner race damage", "ball": "rolling element damage",
        "cage": "cage damage", "imbalance": "imbalance", "misalignment": "misalignment", "looseness": "looseness",
        "bent_shaft": "bent shaft", "gear": "gear damage", "electrical": "electrical cause",
    },
    "de": {
        "outer": "Schaden am Außenring", "inner": "Schaden am Innenring", "ball": "Schaden am Wälzkörper",
        "cage": "Käfigschaden", "imbalance": "Unwucht", "misalignment": "Ausrichtfehler", "looseness": "Lockerung",
        "bent_shaft": "verbogene Welle", "gear": "Zahnradschaden", "electrical": "elektrische Ursache",
    },
}  # fmt: skip
_WORDS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "opened": "Case {case} is open since {at}.",
        "reopened": "Case {case} was acknowledged and is open again since {at}: new or worse.",
        "worse": "Case {case} has become worse at {at}.",
        "shelved": "Case {case} is a danger and has been put on the shelf at {at}.",
        "unshelved": "Case {case} is back from the shelf since {at}.",
        "escalated": "Nobody has acknowledged it for {minutes} minutes.",
        "cause": "Likely cause: {cause}.",
        "unknown": "Cause not known.",
        "look": "Look: {address}",
        "key": "Reference {key}; the same reference again is the same notice.",
        "test_title": "Test notification",
        "test": "This is a test of channel {channel}, asked for by {actor} at {at}. Nothing is wrong.",
        "summary_title": "{count} notices in one",
        "summary": "So much happened within minutes that it is told at once: {counts}.",
        "worst": "Worst first:",
        "more": "and {count} more",
        "lost": "{count} older notices did not fit into the queue.",
    },
    "de": {
        "opened": "Fall {case} ist offen seit {at}.",
        "reopened": "Fall {case} war quittiert und ist seit {at} wieder offen: neu oder schlimmer.",
        "worse": "Fall {case} hat sich um {at} verschlimmert.",
        "shelved": "Fall {case} ist eine Gefahr und wurde um {at} zurückgestellt.",
        "unshelved": "Fall {case} ist seit {at} nicht mehr zurückgestellt.",
        "escalated": "Seit {minutes} Minuten hat ihn niemand quittiert.",
        "cause": "Wahrscheinliche Ursache: {cause}.",
        "unknown": "Ursache nicht bekannt.",
        "look": "Ansehen: {address}",
        "key": "Kennung {key}; dieselbe Kennung noch einmal ist dieselbe Meldung.",
        "test_title": "Testmeldung",
        "test": "Dies ist ein Test des Kanals {channel}, verlangt von {actor} um {at}. Es ist nichts passiert.",
        "summary_title": "{count} Meldungen in einer",
        "summary": "In wenigen Minuten ist so viel geschehen, dass es auf einmal gemeldet wird: {counts}.",
        "worst": "Das Schlimmste zuerst:",
        "more": "und {count} weitere",
        "lost": "{count} ältere Meldungen passten nicht mehr in die Warteschlange.",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """What one notice is about.

    Attributes:
        cause: The label of the best diagnosis; empty or `unknown` where there is none.
        after_min: How long nobody acknowledged, for notices that waited for that.
    """

    kind: str
    priority: str
    machine: str
    title: str
    case_id: int
    cause: str
    at_us: int
    after_min: int = 0


@dataclass(frozen=True, slots=True)
class Voice:
    """How this plant speaks."""

    plant: str
    language: Language
    zone: str
    dashboard_address: str = ""

    def notice(self, told: Told, key: str) -> tuple[str, str]:
        """Title and body of one notice."""
        said = _WORDS[self.language]
        name = _named(told)
        lines = [said[told.kind].format(case=told.case_id, at=self._moment(told.at_us))]
        if told.after_min:
            lines.append(said["escalated"].format(minutes=told.after_min))
        cause = _CAUSE[self.language].get(told.cause)
        lines.append(said["cause"].format(cause=cause) if cause else said["unknown"])
        lines += self._ending(f"machine?machine={quote(told.machine)}", key)
        return f"{self.plant}: {self._priority(told.priority)}: {name}", "\n".join(lines)

    def test(self, channel: str, actor: str, at_us: int, key: str) -> tuple[str, str]:
        """Title and body of a test."""
        said = _WORDS[self.language]
        body = said["test"].format(channel=channel, actor=one_line(actor), at=self._moment(at_us))
        return f"{self.plant}: {said['test_title']}", "\n".join([body, *self._ending("", key)])

    def summary(self, told: Sequence[Told], lost: int, key: str) -> tuple[str, str]:
        """Title and body of one notice for many.

        Args:
            told: What it stands for, worst first.
            lost: How many more were not even queued.
            key: Names it.
        """
        said = _WORDS[self.language]
        count = {name: sum(one.priority == name for one in told) for name in _PRIORITY["en"]}
        counts = ", ".join(f"{number} {self._priority(name)}" for name, number in count.items() if number)
        lines = [said["summary"].format(counts=counts), said["worst"]]
        lines += [f"- {self._priority(one.priority)}: {_named(one)}" for one in told[:NAMED_IN_SUMMARY]]
        if len(told) > NAMED_IN_SUMMARY:
            lines.append(f"- {said['more'].format(count=len(told) - NAMED_IN_SUMMARY)}")
        if lost:
            lines.append(said["lost"].format(count=lost))
        title = said["summary_title"].format(count=len(told))
        return f"{self.plant}: {title}", "\n".join([*lines, *self._ending("alarms", key)])

    def _priority(self, name: str) -> str:
        return _PRIORITY[self.language].get(name, name)

    def _ending(self, page: str, key: str) -> list[str]:
        said = _WORDS[self.language]
        base = self.dashboard_address.rstrip("/")
        return ([said["look"].format(address=f"{base}/{page}")] if base else []) + [said["key"].format(key=key)]

    def _moment(self, at_us: int) -> str:
        at = datetime.fromtimestamp(at_us / 1e6, tz=UTC).astimezone(ZoneInfo(self.zone))
        return f"{at:%Y-%m-%d %H:%M} ({self.zone})"


def one_line(text: str) -> str:
    """A name from outside as one line of printable text, not longer than a name is."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(plain.split())[:LONGEST_NAME]


def _named(told: Told) -> str:
    title = one_line(told.title)
    return f"{title} ({told.machine})" if title and title != told.machine else told.machine
