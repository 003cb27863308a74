"""This file knows Flower's message types and how they cross a wire that is not Flower's own.

Only here do we touch what Flower does not publish: `TaskIdentity`, which `Message` needs to exist, and
`Message(metadata=...)`. tests/contract holds both against the pinned version.
"""

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    Metadata,
    MetricRecord,
    RecordDict,
)
from flwr.supercore.task_identity import TaskIdentity

from schemas.container import array_blob, blob_array, pack, unpack
from schemas.errors import TensorsRejected

RUN_ID = 1
_METADATA: Mapping[str, type | UnionType] = {
    "run_id": int, "message_id": str, "src_node_id": int, "dst_node_id": int, "reply_to_message_id": str,
    "group_id": str, "created_at": int | float, "ttl": int | float, "message_type": str,
}  # fmt: skip
_CLIENT_FAILED = 2

ClientCall = Callable[[Message, Context], Message]


def take_identity(node_id: int) -> None:
    """Make `Message` usable in this process, which Flower did not start."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, node_id, 1


def name_message(message: Message, message_id: str) -> None:
    """Give a message the id by which its reply will be known."""
    message.metadata.__dict__["_message_id"] = message_id


def new_context(node_id: int, node_config: dict[str, str | int | float | bool]) -> Context:
    """The state Flower hands to a `ClientApp` beside each message."""
    return Context(RUN_ID, node_id, node_config, RecordDict(), {})


def dump_message(message: Message) -> bytes:
    """Write a message of Flower as a container of this contract."""
    head: dict[str, Any] = {"metadata": {name: getattr(message.metadata, name) for name in _METADATA}}
    blobs: dict[str, bytes] = {}
    if message.has_error():
        head["error"] = [message.error.code, message.error.reason]
        return pack(head, blobs)
    records: dict[str, Any] = {}
    for name, record in message.content.items():
        if isinstance(record, ArrayRecord):
            arrays = []
            for key, array in record.items():
                description, blob = array_blob(array.numpy())
                arrays.append([key, description])
                blobs[f"{name}/{key}"] = blob
            records[name] = ["arrays", arrays]
        else:
            records[name] = ["metrics" if isinstance(record, MetricRecord) else "config", dict(record)]
    head["records"] = records
    return pack(head, blobs)


def load_message(content: bytes) -> Message:
    """Read what `dump_message` wrote.

    Raises:
        TensorsRejected: It is no such container, or its head is not that of a message.
    """
    head, blobs = unpack(content)
    try:
        metadata = _read_metadata(head["metadata"])
        if "error" in head:
            code, reason = head["error"]
            return Message(error=Error(int(code), str(reason)), metadata=metadata)  # type: ignore[call-overload,no-any-return]
        records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {}
        for name, (kind, value) in head["records"].items():
            if kind == "arrays":
                records[name] = ArrayRecord(
                    {key: Array(blob_array(description, blobs[f"{name}/{key}"])) for key, description in value}
                )
            else:
                records[name] = (MetricRecord if kind == "metrics" else ConfigRecord)(value)
        return Message(content=RecordDict(records), metadata=metadata)  # type: ignore[call-overload,no-any-return]
    except TensorsRejected:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TensorsRejected("bad_message", f"container is no message of the learning: {error!r}") from error


def _read_metadata(said: Mapping[str, Any]) -> Metadata:
    """Flower takes whatever comes; who looks a list up among the messages asked for dies of it."""
    wrong = [name for name, kind in _METADATA.items() if not isinstance(said[name], kind)]
    if wrong:
        raise TypeError(f"{', '.join(wrong)} is of another type")
    times = {name: float(said[name]) for name in ("created_at", "ttl")}
    return Metadata(**{name: said[name] for name in _METADATA} | times)


def answer(app: ClientCall, context: Context, message: Message) -> Message:
    """Let a `ClientApp` answer; what it raises becomes an error reply, as Flower's own engine does it."""
    try:
        return app(message, context)
    except Exception as error:  # noqa: BLE001 - the asking side must learn of any failure
        return Message(Error(_CLIENT_FAILED, f"{type(error).__name__}: {error}"), reply_to=message)
