"""This file knows what a site tells its enterprise of the fleet's release: whether it came into use there, and why not.

It goes up unasked when that changes, and again until the enterprise acknowledges it (`schemas.offer.Acknowledgement`).
Read as input from outside.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from flwr.app import ConfigRecord, ConfigRecordValues, Message, MetricRecord, RecordDict

from schemas.errors import MessageRejected

FATE = "fate-"
"""The message that a fate would answer, if anybody had asked: this and its key."""
MAX_FIGURES = 32
MAX_TEXT = 1000

State = Literal["trying", "running", "withdrawn"]

_FATE, _FIGURES = "fate", "figures"


@dataclass(frozen=True, slots=True)
class ReleaseFate:
    """What has become of one release of the fleet at one site.

    Attributes:
        fleet_version: The enterprise's number of it.
        state: Still on its way, in use on every gateway, or taken back.
        stage: How far it has come (`aggregator.rollout_plan`); empty before it has set out.
        text: On what grounds it came there.
        figures: What that was decided on: AUROC and loss beside those of the release in use, captures, alarms.
    """

    fleet_version: int
    state: State
    stage: str = ""
    text: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names it, the same however often it is sent."""
        said = [self.fleet_version, self.state, self.stage, self.text, sorted(self.figures.items())]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]

    def record(self) -> RecordDict:
        """Write it as the content of a message."""
        head: dict[str, ConfigRecordValues] = {
            "fleet_version": self.fleet_version, "state": self.state, "stage": self.stage, "text": self.text,
        }  # fmt: skip
        return RecordDict({_FATE: ConfigRecord(head), _FIGURES: MetricRecord(dict(self.figures))})

    @classmethod
    def read(cls, message: Message) -> "ReleaseFate":
        """Read it from a message.

        Raises:
            MessageRejected: Something is missing, of another kind, too long or no finite number.
        """
        try:
            head = message.content.config_records[_FATE]
            figures = message.content.metric_records[_FIGURES]
            version, state, stage, text = (head[name] for name in ("fleet_version", "state", "stage", "text"))
            if type(version) is not int or version < 1 or state not in get_args(State):
                raise ValueError(f"version {version!r:.40}, state {state!r:.40}")
            if not (isinstance(stage, str) and isinstance(text, str)) or len(stage) > 16 or len(text) > MAX_TEXT:
                raise ValueError(f"its words are too long; {MAX_TEXT} characters allowed")
            numbers = {name: float(cast("float", value)) for name, value in figures.items()}
            if len(numbers) > MAX_FIGURES or not all(map(math.isfinite, numbers.values())):
                raise ValueError(f"{len(numbers)} figures; {MAX_FIGURES} finite ones allowed")
            return cls(version, cast("State", state), stage, text, numbers)
        except (KeyError, ValueError, TypeError) as error:
            raise MessageRejected("bad_fate", f"fate of a release cannot be read: {error!r}") from error
