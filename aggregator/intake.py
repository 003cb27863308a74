"""This file knows what may be taken in: sealed by the gateway that the topic names, about itself, and readable.

Pure: bytes in, a message or a reason out. A refusal is no exception here: it is counted and goes on.
"""

from dataclasses import dataclass

from schemas.errors import MessageRejected, SignatureRejected, TopicError
from schemas.messages import GatewayStatus, RecordBatch, decode
from schemas.names import check_name
from schemas.signing import KeyRing
from schemas.topics import RECORDS, STATUS, topic_of

HEAD_BYTES = 256


@dataclass(frozen=True, slots=True)
class Refused:
    """A payload that is not taken in.

    Attributes:
        reason: One short stable word for counting.
        text: Why, in words.
        head: The first bytes of it, to look at.
        size_bytes: How much there was.
    """

    topic: str
    reason: str
    text: str
    head: bytes
    size_bytes: int


def read(topic: str, sealed: bytes, *, site: str, keys: KeyRing) -> RecordBatch | GatewayStatus | Refused:
    """Open and check one payload: topic name == key name == payload name.

    Args:
        topic: Where it came.
        sealed: The payload as it came.
        site: The name of this site.
        keys: Who is allowed to speak.
    """
    try:
        row, names = topic_of(topic)
        if row not in {RECORDS, STATUS} or names["site"] != site:
            return _refused(topic, "wrong_topic", f"{topic} is not for this site's historian", sealed)
        gateway = check_name(names["gateway"])
        body = keys.open(topic, sealed, role="gateway", name=gateway)
        message: RecordBatch | GatewayStatus
        message = decode(RecordBatch, body) if row is RECORDS else decode(GatewayStatus, body)
    except (MessageRejected, SignatureRejected) as error:
        return _refused(topic, error.reason, str(error), sealed)
    except TopicError as error:
        return _refused(topic, "wrong_topic", str(error), sealed)
    except ValueError as error:
        return _refused(topic, "bad_name", str(error), sealed)
    if message.gateway != gateway:
        text = f"payload speaks for gateway {message.gateway!r} on the topic of {gateway!r}"
        return _refused(topic, "wrong_gateway", text, sealed)
    return message


def _refused(topic: str, reason: str, text: str, sealed: bytes) -> Refused:
    return Refused(topic, reason, text[:500], sealed[:HEAD_BYTES], len(sealed))


def refused_by_database(topic: str, sealed: bytes, problem: str) -> Refused:
    """A readable message with a value that no database column takes."""
    return _refused(topic, "not_storable", problem, sealed)
