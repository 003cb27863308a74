"""This file knows everything that is said over a broker: one row a topic, and nothing is said beside it."""

from dataclasses import dataclass
from typing import Literal

from schemas.errors import TopicError
from schemas.names import check_name

ROOT = "ut/v1"

Party = Literal["sensor", "gateway", "site", "enterprise"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the table.

    Attributes:
        name: What the row is called in code, logs and counters.
        pattern: Levels below the root; `{...}` stands for one safe name.
        message: What the payload is: a class of `schemas.messages` or a codec of this package.
        qos: MQTT quality of service of publish and subscription.
        retained: Whether the broker keeps the last one for late comers.
        rate: How often, for one writer.
        writer: Who may publish.
        reader: Who subscribes.
        sealed: Whether the payload must carry a signature of an allow-listed key.
        leaves_plant: Whether this crosses the fence of the plant (to the enterprise).
    """

    name: str
    pattern: str
    message: str
    qos: Literal[0, 1]
    retained: bool
    rate: str
    writer: Party
    reader: Party
    sealed: bool
    leaves_plant: bool

    def path(self, **names: str) -> str:
        """Fill the pattern with names, each checked.

        Raises:
            NameError_: A name is not safe in a topic.
            TopicError: A level has no name.
        """
        levels = []
        for level in self.pattern.split("/"):
            if not level.startswith("{"):
                levels.append(level)
                continue
            key = level[1:-1]
            if key not in names:
                raise TopicError(f"topic {self.name} needs {key!r}; got {sorted(names)}")
            levels.append(check_name(names[key]))
        return "/".join((ROOT, *levels))

    def filter(self, **names: str) -> str:
        """Fill what is known and leave `+` for the rest, for a subscription."""
        levels = [
            (check_name(names[level[1:-1]]) if level[1:-1] in names else "+") if level.startswith("{") else level
            for level in self.pattern.split("/")
        ]
        return "/".join((ROOT, *levels))

    def match(self, path: str) -> dict[str, str] | None:
        """Read the names out of a topic; None when it is another row's."""
        found = path.split("/")
        wanted = f"{ROOT}/{self.pattern}".split("/")
        if len(found) != len(wanted):
            return None
        names = {}
        for got, level in zip(found, wanted, strict=True):
            if level.startswith("{"):
                names[level[1:-1]] = got
            elif got != level:
                return None
        return names


_SENSOR = "{site}/sensor/{gateway}/{machine}/{position}"
_GATEWAY = "{site}/gateway/{gateway}"
_MEMBER = "{site}/learning/{member}"

# fmt: off
CAPTURE = Topic("capture", f"{_SENSOR}/capture", "capture.Capture", 1, False,
                "one a measurement", "sensor", "gateway", False, False)
CAPTURE_FRAGMENT = Topic("capture_fragment", f"{_SENSOR}/fragment", "fragments.Fragment", 1, False,
                         "a few a measurement, where the radio needs it", "sensor", "gateway", False, False)
CAPTURE_ACK = Topic("capture_ack", f"{_SENSOR}/ack", "messages.CaptureAck", 1, False,
                    "one a commit with captures of the point", "gateway", "sensor", False, False)
RECORDS = Topic("records", f"{_GATEWAY}/records", "messages.RecordBatch", 1, False,
                "about one a second while there is something to tell", "gateway", "site", True, False)
RECORDS_ACK = Topic("records_ack", f"{_GATEWAY}/records-ack", "messages.RecordsAck", 1, False,
                    "one a commit of the historian", "site", "gateway", True, False)
STATUS = Topic("status", f"{_GATEWAY}/status", "messages.GatewayStatus", 1, True,
               "every 10 s; the last will says offline", "gateway", "site", True, False)
COMMAND = Topic("command", f"{_GATEWAY}/command", "messages.Command", 1, False,
                "when a person acts; repeated until answered", "site", "gateway", True, False)
NAMEPLATES = Topic("nameplates", f"{_GATEWAY}/nameplates", "plate_table.PlateTable", 1, True,
                   "when the plant's table changes; repeated until in force", "site", "gateway", True, False)
RELEASE = Topic("release", f"{_GATEWAY}/release", "fragments.Fragment of release.ReleaseBundle", 1, False,
                "when a release is rolled out; repeated until running", "site", "gateway", True, False)
CANDIDATE = Topic("candidate", f"{_GATEWAY}/candidate", "fragments.Fragment of release.ReleaseBundle", 1, False,
                  "when a release is to be tried beside the one in use, without a say", "site", "gateway", True, False)
MEMBER = Topic("member", f"{_MEMBER}/present", "messages.MemberPresence", 1, True,
               "at birth, and empty as the last will", "gateway", "site", True, True)
TASK = Topic("task", f"{_MEMBER}/task", "fragments.Fragment of a Flower message", 1, False,
             "one a round", "site", "gateway", True, True)
REPLY = Topic("reply", f"{_MEMBER}/reply", "fragments.Fragment of a Flower message", 1, False,
              "one a round", "gateway", "site", True, True)
SITE_SUMMARY = Topic("site_summary", f"{_MEMBER}/summary", "site_summary.SiteSummary", 1, False,
                     "at the start and every 5 min, unless the site's settings forbid it", "site", "enterprise", True,
                     True)

# fmt: on

TOPICS: tuple[Topic, ...] = (
    CAPTURE, CAPTURE_FRAGMENT, CAPTURE_ACK, RECORDS, RECORDS_ACK, STATUS, COMMAND, NAMEPLATES, RELEASE,
    CANDIDATE, MEMBER, TASK, REPLY, SITE_SUMMARY,
)  # fmt: skip
"""Between a site and the enterprise the learning topics serve again: there the site is the member, and the
enterprise's name stands where the site's name stands here. Only those rows leave a plant. A site's summary is said
there alone."""


def topic_of(path: str) -> tuple[Topic, dict[str, str]]:
    """Find the row to which a topic belongs, and the names in it.

    Raises:
        TopicError: No row has this form.
    """
    for topic in TOPICS:
        names = topic.match(path)
        if names is not None:
            return topic, names
    raise TopicError(f"topic {path!r} is not in the table of topics")
