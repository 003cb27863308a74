"""This file knows the two questions by which a fleet learns how healthy machines vary, and how members answer.

`query.variation` goes down twice: first empty (tell the sums of your sessions), then with what all have told (let
your sessions play the newcomer by it). Answers are sums; `schemas.variation` says what of.
"""

from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, RecordDict

from schemas.errors import MessageRejected, TensorsRejected
from schemas.variation import Variation

ACTION = "variation"
VARIATION = f"{MessageType.QUERY}.{ACTION}"
RECORD, _KEY = "variation", "sums"


@dataclass(frozen=True, slots=True, eq=False)
class VariationMessage:
    """A question or an answer; `known` is None in the first question."""

    known: Variation | None

    def record(self) -> RecordDict:
        """Write as the content of a message."""
        packed = b"" if self.known is None else self.known.pack()
        return RecordDict({RECORD: ArrayRecord({_KEY: Array(np.frombuffer(packed, np.uint8).copy())})})

    @classmethod
    def read(cls, message: Message) -> "VariationMessage":
        """Read the content of a message.

        Raises:
            MessageRejected: It is no such message, or holds sums that cannot be.
        """
        try:
            array = message.content.array_records[RECORD][_KEY].numpy()
        except (KeyError, ValueError, TypeError) as error:
            raise MessageRejected("bad_variation", f"variation cannot be read: {error!r}") from error
        if array.dtype != np.uint8 or array.ndim != 1:
            raise MessageRejected("bad_variation", f"variation is {array.dtype} {array.shape}, bytes are needed")
        if not array.size:
            return cls(None)
        try:
            return cls(Variation.unpack(array.tobytes()))
        except TensorsRejected as error:
            raise MessageRejected(error.reason, f"variation cannot be used: {error}") from error
