"""This file knows what a site tells its enterprise unasked, and how the enterprise acknowledges it.

An offer goes up when the site is ready, and again until `query.acknowledge` has come down: that says what became of
it, after the enterprise's commit. The two sides of each are in this one file; both are read as input from outside.
"""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from flwr.app import ConfigRecord, ConfigRecordValues, Message, MessageType, RecordDict

from schemas.errors import MessageRejected
from schemas.learning_task import TrainingReply

OFFER = "offer-"
"""The message that an offer would answer, if anybody had asked: this and its key."""
ACKNOWLEDGE_ACTION = "acknowledge"
ACKNOWLEDGE = f"{MessageType.QUERY}.{ACKNOWLEDGE_ACTION}"
MAX_KEY = 64

Fate = Literal["stored", "refused"]

_OFFER, _ANSWER = "offer", "acknowledgement"


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """What one or more rounds of a site have changed since it took the fleet's parameters.

    Attributes:
        key: Names it, the same however often it is sent.
        base_digest: sha256 of the fleet's parameters that the site's rounds started from.
        first_round: The site's own number of the first round in it.
        last_round: And of the last.
        rounds: How many rounds are in it.
        learnt: As the answer to a task would say it; its `base_version` is the fleet's.
    """

    key: str
    base_digest: str
    first_round: int
    last_round: int
    rounds: int
    learnt: TrainingReply

    def record(self) -> RecordDict:
        """Write it as the content of a message."""
        head: dict[str, ConfigRecordValues] = {
            "key": self.key,
            "base_digest": self.base_digest,
            "first_round": self.first_round,
            "last_round": self.last_round,
            "rounds": self.rounds,
        }
        content = self.learnt.record()
        content[_OFFER] = ConfigRecord(head)
        return content

    @classmethod
    def read(cls, message: Message) -> "Offer":
        """Read the offer in a message; its numbers may still be anything.

        Raises:
            MessageRejected: Something is missing or of another kind.
        """
        try:
            head = message.content.config_records[_OFFER]
            numbers = [head[name] for name in ("first_round", "last_round", "rounds")]
            if not all(type(number) is int and number >= 1 for number in numbers):
                raise TypeError(f"rounds are {numbers}, numbers from 1 are needed")
            first, last, rounds = cast("list[int]", numbers)
            return cls(_text(head, "key"), _text(head, "base_digest"), first, last, rounds, TrainingReply.read(message))
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise MessageRejected("bad_offer", f"offer cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What became of an offer: stored for ever, or refused for ever with its reason."""

    key: str
    fate: Fate
    text: str = ""

    def record(self) -> RecordDict:
        """Write it as the content of a message."""
        return RecordDict({_ANSWER: ConfigRecord({"key": self.key, "fate": self.fate, "text": self.text})})

    @classmethod
    def read(cls, message: Message) -> "Acknowledgement":
        """Read it from a message.

        Raises:
            MessageRejected: Something is missing or of another kind.
        """
        try:
            head = message.content.config_records[_ANSWER]
            fate = head["fate"]
            if fate not in get_args(Fate):
                raise ValueError(f"{fate!r} is none of {get_args(Fate)}")
            return cls(_text(head, "key"), cast("Fate", fate), str(head["text"]))
        except (KeyError, ValueError, TypeError) as error:
            raise MessageRejected("bad_acknowledgement", f"acknowledgement cannot be read: {error!r}") from error


def _text(head: ConfigRecord, name: str) -> str:
    value = head[name]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY:
        raise TypeError(f"{name} is {value!r:.80}, a name of 1 to {MAX_KEY} letters is needed")
    return value
