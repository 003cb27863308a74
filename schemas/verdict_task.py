"""This file knows how a server tells a member that its update does not count, and why, for the member's people."""

from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from schemas.errors import MessageRejected

VERDICT = f"{MessageType.QUERY}.verdict"
_RECORD = "verdict"
REASON_CHARACTERS, TEXT_CHARACTERS = 32, 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a member's update.

    Attributes:
        round_number: In which round; 0 for what belonged to none.
        reason: One stable word, as in the round's own table.
        text: A sentence for people.
    """

    round_number: int
    reason: str
    text: str

    def record(self) -> RecordDict:
        """Write it as the content of a message."""
        return RecordDict(
            {
                _RECORD: ConfigRecord(
                    {
                        "round": self.round_number,
                        "reason": self.reason[:REASON_CHARACTERS],
                        "text": self.text[:TEXT_CHARACTERS],
                    }
                )
            }
        )

    @classmethod
    def read(cls, message: Message) -> "Verdict":
        """Read the verdict in a message.

        Raises:
            MessageRejected: Something is missing or of another kind.
        """
        try:
            said = message.content.config_records[_RECORD]
            number, reason, text = said["round"], said["reason"], said["text"]
        except (KeyError, ValueError) as error:  # Flower's word for a message with no content
            raise MessageRejected("bad_verdict", f"verdict cannot be read: {error!r}") from error
        if not (
            isinstance(number, int) and number >= 0 and isinstance(reason, str) and reason and isinstance(text, str)
        ):
            raise MessageRejected("bad_verdict", "verdict has values of another kind")
        return cls(number, reason[:REASON_CHARACTERS], text[:TEXT_CHARACTERS])
