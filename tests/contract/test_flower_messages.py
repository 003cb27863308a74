"""What we touch of Flower that it does not publish, held against the pinned version; and what crosses the wire."""

import importlib.metadata
import os
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict
from flwr.supercore import telemetry
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from schemas.errors import MessageRejected, TensorsRejected
from schemas.flower_codec import dump_message, load_message, name_message, take_identity, tell_nobody
from schemas.learning_task import EvaluationReply, LearningTask, TrainingReply

THETA = np.arange(5, dtype=np.float32)
TASK = LearningTask(3, 2, "a" * 64, THETA, 60, 1e-3, 0.01, 7)


def message(content: RecordDict) -> Message:
    take_identity(1)
    made = Message(content, 42, "train", group_id="3")
    name_message(made, "f" * 32)
    return made


WHOLE = dump_message(message(TASK.record()))


def carried(content: RecordDict) -> Message:
    return load_message(dump_message(message(content)))


def test_the_version_of_flower_is_the_one_this_contract_was_written_for() -> None:
    assert importlib.metadata.version("flwr") == "1.41.0"


def test_a_message_can_be_named_and_keeps_its_name_on_the_wire() -> None:
    arrived = carried(TASK.record())
    assert isinstance(arrived.metadata, Metadata)
    assert arrived.metadata.message_id == "f" * 32
    assert (arrived.metadata.dst_node_id, arrived.metadata.group_id) == (42, "3")


def test_a_reply_knows_its_question_and_its_sender() -> None:
    reply = load_message(dump_message(Message(RecordDict(), reply_to=carried(TASK.record()))))
    assert reply.metadata.reply_to_message_id == "f" * 32
    assert reply.metadata.src_node_id == 42


@pytest.mark.parametrize("hours", [-24 * 365 * 50, -24, 24, 24 * 365])
def test_a_member_whose_clock_is_wrong_can_answer_all_the_same(hours: int) -> None:
    asked = carried(TASK.record())
    asked.metadata.created_at += 3600.0 * hours
    for reply in (Message(TASK.record(), reply_to=asked), Message(Error(2, "no"), reply_to=asked)):
        arrived = load_message(dump_message(reply))
        assert arrived.metadata.reply_to_message_id == "f" * 32


def test_an_error_reply_keeps_its_reason() -> None:
    reply = load_message(dump_message(Message(Error(2, "too few rows"), reply_to=carried(TASK.record()))))
    assert reply.error == Error(2, "too few rows")


@settings(max_examples=50)
@given(
    npst.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8]),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_every_array_arrives_as_it_was_sent(array: NDArray[Any]) -> None:
    content = RecordDict({"a": ArrayRecord({"x": Array(array)}), "c": ConfigRecord({"k": "v"}), "m": MetricRecord()})
    arrived = carried(content).content
    np.testing.assert_array_equal(arrived.array_records["a"]["x"].numpy(), array)
    assert dict(arrived.config_records["c"]) == {"k": "v"}


def test_an_array_that_flower_holds_in_another_way_arrives_all_the_same() -> None:
    """Fortran order is written by numpy as it lies in memory; ours is always the other."""
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    arrived = carried(RecordDict({"a": ArrayRecord({"x": Array(array)})})).content.array_records["a"]["x"]
    np.testing.assert_array_equal(arrived.numpy(), array)
    assert arrived.data == Array(np.ascontiguousarray(array)).data


def test_bytes_and_lists_arrive_as_they_were_sent() -> None:
    """A record of Flower may hold bytes; the head of our container is JSON, which may not."""
    said = {"raw": b"\x00\xff", "many": [b"a", b""], "numbers": [1, 2], "text": "x", "yes": True}
    assert dict(carried(RecordDict({"c": ConfigRecord(said)})).content.config_records["c"]) == said


def test_flower_is_told_to_tell_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "FLWR_TELEMETRY_ENABLED", "1")
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    tell_nobody()
    assert telemetry.create_event(telemetry.EventType.PING, None) == "disabled"
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"


def test_a_task_arrives_as_it_was_asked() -> None:
    arrived = LearningTask.read(carried(TASK.record()))
    np.testing.assert_array_equal(arrived.theta, THETA)
    assert (arrived.round_number, arrived.base_version, arrived.graph) == (3, 2, "a" * 64)
    assert (arrived.steps, arrived.learning_rate, arrived.proximal, arrived.seed) == (60, 1e-3, 0.01, 7)


def test_a_reply_arrives_as_it_was_given_even_when_it_is_nonsense() -> None:
    """Judging is the merge's work; a NaN must reach it, to be counted against its sender."""
    said = TrainingReply(2, np.array([1, np.nan], np.float32), 1e9, float("nan"), 0.5, 12)
    arrived = TrainingReply.read(carried(said.record()))
    np.testing.assert_array_equal(arrived.delta, said.delta)
    assert arrived.weight == 1e9
    assert np.isnan(arrived.loss_before)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"parameters": ArrayRecord(), "config": ConfigRecord({"round": 1})}),
        RecordDict({"parameters": ArrayRecord({"theta": Array(THETA)}), "config": ConfigRecord({"round": "one"})}),
    ],
)
def test_a_task_with_something_missing_is_refused(content: RecordDict) -> None:
    with pytest.raises(MessageRejected) as caught:
        LearningTask.read(carried(content))
    assert caught.value.reason == "bad_task"


@pytest.mark.parametrize(("loss", "rows"), [(float("nan"), 10), (-1.0, 10), (0.5, 0), (float("inf"), 1)])
def test_an_impossible_evaluation_is_refused(loss: float, rows: float) -> None:
    with pytest.raises(MessageRejected):
        EvaluationReply.read(carried(EvaluationReply(loss, rows).record()))


@given(st.data())
def test_a_message_cut_or_changed_anywhere_is_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    for broken in (WHOLE[:at], WHOLE[:at] + bytes([WHOLE[at] ^ 1]) + WHOLE[at + 1 :]):
        with pytest.raises(TensorsRejected):
            load_message(broken)
