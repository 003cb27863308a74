"""Many rounds within one process: the same apps, strategy and merge as live."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from flwr.app import Context, Message

from aggregator.learning.local import run_local_rounds
from aggregator.learning.strategy import Plan, RoundResult
from gateway_agent.federation import make_client_app
from gateway_agent.model_slot import ModelSlot
from schemas.flower_codec import (
    ClientCall,
    answer,
    dump_message,
    load_message,
    name_message,
    new_context,
    take_identity,
)
from schemas.learning_task import LearningTask, TrainingReply
from schemas.release import TRAIN_STEP
from schemas.signing import Signer
from tests.support.learning import Rows, builtin, client_app, healthy_rows

FIRST = builtin(Signer.generate())
GRAPH = FIRST.manifest.files[TRAIN_STEP].sha256
PLAN = Plan(graph=GRAPH, steps=20, learning_rate=3e-3)


def members(count: int) -> dict[str, ClientCall]:
    return {f"gw-{number}": client_app(FIRST, healthy_rows(number)) for number in range(count)}


def test_rounds_lower_the_loss_on_what_members_held_back() -> None:
    heard: list[RoundResult] = []
    theta, history = run_local_rounds(members(3), FIRST.parameters(), PLAN, rounds=5, on_round=heard.append)
    assert heard == history
    losses = [result.metrics["loss_after"] for result in history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * history[0].metrics["loss_before"]
    assert history[-1].theta is theta


def test_the_same_seed_gives_the_same_parameters() -> None:
    first, again = (run_local_rounds(members(3), FIRST.parameters(), PLAN, rounds=2)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_void_round_changes_nothing_and_the_next_one_goes_on() -> None:
    calls = {"train": 0}
    honest = client_app(FIRST, healthy_rows(1))

    def hurt_once(message: Message, context: Context) -> Message:
        reply = honest(message, context)
        if message.metadata.message_type == "train":
            calls["train"] += 1
            if calls["train"] == 1:
                said = TrainingReply.read(reply)
                worse = TrainingReply(said.base_version, -40 * said.delta, said.weight, said.loss_before, 0.0, 5)
                return Message(worse.record(), reply_to=message)
        return reply

    _, history = run_local_rounds({"gw-1": hurt_once}, FIRST.parameters(), PLAN, rounds=2)
    assert "rose" in history[0].void
    assert history[1].void == ""


def test_a_quorum_that_is_missed_voids_the_round_with_the_numbers() -> None:
    few = {f"gw-{number}": client_app(FIRST, healthy_rows(number, count=10)) for number in range(3)}
    apps = {**few, "gw-9": client_app(FIRST, healthy_rows(9))}
    theta, (result,) = run_local_rounds(apps, FIRST.parameters(), PLAN, rounds=1)
    assert result.void == "1 of 4 invited gave a usable update, 2 needed"
    assert {each.reason for each in result.rejected} == {"refused"}
    np.testing.assert_array_equal(theta, FIRST.parameters())


def ask(app: ClientCall, task: LearningTask, kind: str = "train") -> Message:
    take_identity(1)
    message = Message(task.record(), 5, kind, group_id="1")
    name_message(message, "0" * 32)
    return answer(app, new_context(5, {}), load_message(dump_message(message)))


def task(**changes: object) -> LearningTask:
    fields = {
        "round_number": 1, "base_version": 1, "graph": GRAPH, "theta": FIRST.parameters(), "steps": 2,
        "learning_rate": 1e-3, "proximal": 0.0, "seed": 0, **changes,
    }  # fmt: skip
    return LearningTask(**fields)  # type: ignore[arg-type]


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "another model": ({"graph": "f" * 64}, "of another model"),
    "other shape": ({"theta": np.zeros(7, np.float32)}, "float32 (3704,) fit"),
    "other type": ({"theta": np.zeros(3704)}, "parameters are float64"),
    "NaN": ({"theta": np.full(3704, np.nan, np.float32)}, "NaN"),
    "a day of steps": ({"steps": 10**9}, "1 to 10000"),
    "a wild learning rate": ({"learning_rate": float("nan")}, "learning_rate nan"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_gateway_refuses_a_task_it_cannot_do_and_says_why(what: str, kind: str) -> None:
    changes, text = REFUSED[what]
    reply = ask(client_app(FIRST, healthy_rows(1)), task(**changes), kind)
    assert reply.has_error()
    assert text in (reply.error.reason or "")


def test_the_training_graph_is_opened_for_the_round_and_dropped_after_it() -> None:
    """It holds memory that a gateway needs elsewhere."""
    slot = ModelSlot()
    slot.load(FIRST)
    opened: list[weakref.ref[object]] = []

    def open_step() -> object:
        step = slot.train_step()
        opened.append(weakref.ref(step))
        return step

    rows: Rows = healthy_rows(1)
    ask(make_client_app(lambda: FIRST, open_step, lambda: rows), task())  # type: ignore[arg-type]
    gc.collect()
    assert [ref() for ref in opened] == [None]


def test_what_is_not_merged_at_this_level_stays_as_it_was_whatever_members_send() -> None:
    own = np.arange(FIRST.parameters().size) % 2 == 0
    plan = dataclasses.replace(PLAN, part=lambda delta: np.where(own, delta.dtype.type(0), delta))
    theta, (result,) = run_local_rounds(members(3), FIRST.parameters(), plan, rounds=1)
    assert result.void == ""
    np.testing.assert_array_equal(theta[own], FIRST.parameters()[own])
    assert not np.array_equal(theta[~own], FIRST.parameters()[~own])


def test_settings_of_the_rule_reach_the_members_and_one_it_has_not_is_refused_by_name() -> None:
    plan = dataclasses.replace(PLAN, settings={"pull_of_the_moon": 0.5})
    _, (result,) = run_local_rounds(members(1), FIRST.parameters(), plan, rounds=1)
    (rejection,) = result.rejected
    assert rejection.reason == "refused"
    assert "pull_of_the_moon" in rejection.text
