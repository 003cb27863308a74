"""This file knows Flower's message types and how they cross a wire that is not Flower's own.

Only here do we touch what Flower does not publish: `TaskIdentity`, which `Message` needs to exist,
`Message(metadata=...)`, and the switch of what it tells its makers. tests/contract holds them against the pinned
version.
"""

import base64
import functools
import io
import os
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any

import numpy as np
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
from flwr.supercore import telemetry
from flwr.supercore.task_identity import TaskIdentity

from schemas.container import DTYPES, array_blob, blob_array, pack, unpack
from schemas.errors import TensorsRejected

RUN_ID = 1
_NUMPY = "numpy.ndarray"  # how Flower calls the form in which it holds arrays, numpy's file format
_METADATA: Mapping[str, type | UnionType] = {
    "run_id": int, "message_id": str, "src_node_id": int, "dst_node_id": int, "reply_to_message_id": str,
    "group_id": str, "created_at": int | float, "ttl": int | float, "message_type": str,
}  # fmt: skip
NOBODY_THERE, CLIENT_FAILED, UNUSABLE_REPLY, REPLY_OVERSIZED = 1, 2, 3, 4
"""Codes of an error in the place of a reply; its reason says in words what was found and what is allowed."""

ClientCall = Callable[[Message, Context], Message]


def take_identity(node_id: int) -> None:
    """Make `Message` usable in this process, which Flower did not start."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, node_id, 1


def tell_nobody() -> None:
    """Keep Flower's own engines, in this process and those it starts, from telling anybody outside of their runs."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = telemetry.FLWR_TELEMETRY_ENABLED = "0"


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
                description, blob = _take_out(array)
                arrays.append([key, description])
                blobs[f"{name}/{key}"] = blob
            records[name] = ["arrays", arrays]
        else:
            kind = "metrics" if isinstance(record, MetricRecord) else "config"
            records[name] = [kind, {key: _as_json(value) for key, value in record.items()}]
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
                    {key: _put_in(description, blobs[f"{name}/{key}"]) for key, description in value}
                )
            else:
                values = {key: _from_json(one) for key, one in value.items()}
                records[name] = (MetricRecord if kind == "metrics" else ConfigRecord)(values)
        return Message(content=RecordDict(records), metadata=metadata)  # type: ignore[call-overload,no-any-return]
    except TensorsRejected:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TensorsRejected("bad_message", f"container is no message of the learning: {error!r}") from error


@functools.lru_cache(maxsize=256)
def _npy_head(dtype: str, shape: tuple[int, ...]) -> bytes:
    """What numpy's file format writes before an array's own bytes."""
    head = io.BytesIO()
    described = {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, described)
    return head.getvalue()


def _take_out(array: Array) -> tuple[dict[str, Any], bytes]:
    """Describe an array and give its bytes, without making one of it where it is as we would write it."""
    description = {"dtype": array.dtype, "shape": list(array.shape)}
    if array.dtype in DTYPES and array.stype == _NUMPY:
        head = _npy_head(array.dtype, tuple(array.shape))
        if array.data.startswith(head):
            return description, array.data[len(head) :]
    return array_blob(array.numpy())


def _put_in(description: Mapping[str, Any], blob: bytes) -> Array:
    """Make an array of what `_take_out` gave."""
    checked = blob_array(description, blob)
    head = _npy_head(checked.dtype.name, checked.shape)
    return Array(dtype=checked.dtype.name, shape=checked.shape, stype=_NUMPY, data=head + blob)


def _as_json(value: Any) -> Any:
    """A value of a record; bytes, which JSON lacks, as a table, which records lack."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return [_as_json(one) for one in value] if isinstance(value, list) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"], validate=True)
    return [_from_json(one) for one in value] if isinstance(value, list) else value


def _read_metadata(said: Mapping[str, Any]) -> Metadata:
    """Flower takes whatever comes; who looks a list up among the messages asked for dies of it."""
    wrong = [name for name, kind in _METADATA.items() if not isinstance(said[name], kind)]
    if wrong:
        raise TypeError(f"{', '.join(wrong)} is of another type")
    times = {name: float(said[name]) for name in ("created_at", "ttl")}
    return Metadata(**{name: said[name] for name in _METADATA} | times)


def empty_reply(task: Message) -> Message:
    """Say no more than that a task was heard."""
    return Message(RecordDict(), reply_to=task)


def error_reply(task: Message, code: int, text: str) -> Message:
    """What stands in the place of a reply that will not come."""
    return Message(Error(code, text), reply_to=task)


def answer(app: ClientCall, context: Context, message: Message) -> Message:
    """Let a `ClientApp` answer; what it raises becomes an error reply, as Flower's own engine does it."""
    try:
        return app(message, context)
    except Exception as error:  # noqa: BLE001 - the asking side must learn of any failure
        return error_reply(message, CLIENT_FAILED, f"{type(error).__name__}: {error}")
