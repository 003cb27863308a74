"""A gateway trains by whatever rule its release brings, and keeps for itself what is its own."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from aggregator.foundry.artefacts import BUILT, BuiltSpec
from aggregator.release_making import first_release
from gateway_agent.federation import make_client_app
from gateway_agent.model_slot import ModelSlot, TrainStep
from gateway_agent.personal_parameters import FILE_NAME, PersonalShelf
from gateway_agent.training import (
    NOTHING_OWN,
    OwnParameters,
    Rows,
    TrainingRefused,
    TrainingResult,
    held_back_loss,
    mean_score,
    split_by_time,
    train,
)
from schemas.flower_codec import (
    ClientCall,
    answer,
    dump_message,
    load_message,
    name_message,
    new_context,
    take_identity,
)
from schemas.learning_task import EvaluationReply, LearningTask, TrainingReply
from schemas.parameter_levels import MergeLevel
from schemas.release import TEACHER, TRAIN_STEP, Release
from schemas.signing import Signer
from tests.support.learning import CREATED_AT_US, healthy_rows
from tests.support.numpy_autoencoder import NumpyAutoencoder

GRAPHS = BUILT / "dense_autoencoder_48"
RULES = sorted(BuiltSpec.load(GRAPHS).graphs.keys() - {"score"})
TWIN = NumpyAutoencoder((48, 32, 8, 32, 48))
SIGNER = Signer.generate()
HEAD: dict[str, MergeLevel] = {"layer_4": "machine"}
HEAD_PART = slice(2120, 3704)
ROWS = healthy_rows(1)


def released(
    rule: str, *, levels: dict[str, MergeLevel] | None = None, version: int = 1, graphs: Path = GRAPHS, **files: Any
) -> Release:
    return first_release(
        graphs, SIGNER, created_at_us=CREATED_AT_US, seed=1, rule=rule, levels=levels, version=version, knowledge=files
    )


def opened(release: Release) -> TrainStep:
    slot = ModelSlot()
    slot.load(release)
    return slot.train_step()


def learnt(release: Release, **asked: Any) -> TrainingResult:
    step = opened(release)
    adam = step.graph.settings["learning_rate"].highest < 1  # the others go down the plain gradient
    fields: dict[str, Any] = {"learning_rate": 3e-3 if adam else 1.0, "noise": noise_of(1), "steps": 60, **asked}
    return train(release.parameters(), ROWS, step, proximal=0.0, seed=5, **fields)


def noise_of(seed: int) -> Callable[[int], Rows]:
    draw = np.random.default_rng(seed)
    return lambda count: draw.standard_normal(count, np.float32)


@pytest.mark.parametrize("family", ["dense_autoencoder_48", "conv_autoencoder_48"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_that_ships_does_better_on_rows_it_has_not_seen(family: str, rule: str) -> None:
    head: dict[str, MergeLevel] = HEAD if family == "dense_autoencoder_48" else {"output": "machine"}
    result = learnt(released(rule, graphs=BUILT / family, levels=head if rule == "frozen_part_step" else None))
    assert result.loss_after < 0.99 * result.loss_before


@pytest.mark.parametrize("rule", RULES)
def test_three_steps_of_every_rule_equal_those_done_by_hand(rule: str) -> None:
    """The batches are consecutive ones of the order that the seed gives; a second batch is the one after the first."""
    release, rate = released(rule, levels=HEAD), 5.0 if rule == "pfedme_step" else 0.05
    result = learnt(release, steps=3, learning_rate=rate)
    rows, _ = split_by_time(ROWS)
    order = np.random.default_rng(5).permutation(len(rows))
    batches = iter(rows[order[at : at + 32]].astype(np.float64) for at in range(0, 192, 32))
    theta, noise = release.parameters().astype(np.float64), noise_of(1)
    at_first: dict[str, Any] = {
        "theta": theta, "anchor": theta, "personal": theta, "teacher": theta, "m": 0 * theta, "v": 0 * theta, "t": 0,
        "mask": np.zeros(theta.size), "weight": np.ones(32), "weight_query": np.ones(32), "lr": rate, "mu": 0.0,
        "inner_lr": 0.5, "pull": 0.1, "clip": 1.0, "sigma": 0.0, "share": 0.5,
    }  # fmt: skip
    at_first["mask"][HEAD_PART] = 1
    row = BuiltSpec.load(GRAPHS).graphs[rule]
    feed = {each.name: at_first.get(each.name) for each in row.inputs}
    for _ in range(3):
        feed |= {name: next(batches) for name in ("x", "x_query") if name in feed}
        feed |= {"noise": noise(theta.size)} if "noise" in feed else {}
        results = getattr(TWIN, rule)(**feed)
        feed |= {
            row.next_values[o.name]: r for o, r in zip(row.outputs, results, strict=True) if o.name in row.next_values
        }
    expected = feed["theta"] - theta
    expected[HEAD_PART] = 0
    np.testing.assert_allclose(result.delta, expected, atol=2e-5 * np.abs(feed["theta"] - theta).max())
    if "personal" in feed:
        assert result.own.personal is not None
        moved = feed["personal"] - theta
        np.testing.assert_allclose(result.own.personal - theta, moved, atol=2e-5 * np.abs(moved).max())


def test_a_part_of_level_machine_is_learnt_and_never_leaves() -> None:
    result = learnt(released("adam_prox_step", levels=HEAD))
    assert not result.delta[HEAD_PART].any()
    assert result.delta[:2120].all()
    assert result.own.machine is not None
    assert np.abs(result.own.machine - released("adam_prox_step").parameters())[HEAD_PART].max() > 0.01


def test_the_next_round_goes_on_from_this_gateways_own_part() -> None:
    release = released("adam_prox_step", levels=HEAD)
    first = learnt(release)
    merged = release.parameters() + first.delta
    step = opened(release)
    asked = {"learning_rate": 3e-3}
    with_own, _ = held_back_loss(merged, ROWS, step, settings=asked, own=first.own)
    without, _ = held_back_loss(merged, ROWS, step, settings=asked)
    assert with_own == pytest.approx(first.loss_after, rel=1e-6)
    assert with_own < without


def test_a_frozen_encoder_stays_while_the_machines_own_head_learns() -> None:
    release = released("frozen_part_step", levels=HEAD)
    result = learnt(release)
    assert not result.delta.any()
    assert result.own.machine is not None
    np.testing.assert_array_equal(result.own.machine[:2120], release.parameters()[:2120])
    assert result.loss_after < result.loss_before


def test_a_personal_model_fits_its_own_machine_better_than_the_shared_one_merged_from_two_unlike_machines() -> None:
    release = released("ditto_step")
    step, theta = opened(release), release.parameters()
    machines = [ROWS, healthy_rows(2)[:, ::-1].copy()]
    own = [NOTHING_OWN, NOTHING_OWN]
    for number in range(8):
        results = [
            train(theta, rows, step, steps=40, learning_rate=3.0, proximal=0, seed=number, own=kept)
            for rows, kept in zip(machines, own, strict=True)
        ]
        own = [result.own for result in results]
        theta = theta + np.mean([result.delta for result in results], axis=0)
    for rows, kept in zip(machines, own, strict=True):
        _, held_back = split_by_time(rows)
        assert kept.personal is not None
        assert mean_score(kept.personal, held_back, step) < 0.97 * mean_score(theta, held_back, step)


def test_noise_of_strength_0_leaves_no_trace_and_any_other_does() -> None:
    release = released("clipped_step")
    quiet = [learnt(release, noise=noise_of(seed)).delta for seed in (1, 2)]
    loud = [learnt(release, noise=noise_of(seed), settings={"sigma": 1.0}).delta for seed in (1, 2)]
    np.testing.assert_array_equal(*quiet)
    assert np.linalg.norm(loud[0] - loud[1]) > 0.1 * np.linalg.norm(quiet[0])


def test_a_rule_that_hides_rows_is_not_run_where_nobody_draws_noise() -> None:
    with pytest.raises(TrainingRefused, match="noise"):
        learnt(released("clipped_step"), noise=None)


def test_the_teacher_of_a_release_is_the_one_that_is_learnt_from() -> None:
    teacher = released("adam_prox_step").parameters() + learnt(released("adam_prox_step"), steps=300).delta
    release = released("distillation_step", **{TEACHER: teacher.astype("<f4").tobytes()})
    result = learnt(release, steps=150, settings={"teacher_share": 1.0})
    _, held_back = split_by_time(ROWS)
    taught = TWIN.score(teacher, held_back)[1]
    apart = [np.square(TWIN.score(at, held_back)[1] - taught).mean() for at in
             (release.parameters(), release.parameters() + result.delta)]  # fmt: skip
    assert apart[1] < 0.5 * apart[0]


def test_a_rule_that_adapts_is_judged_after_adapting() -> None:
    release = released("maml_step")
    rows, held_back = split_by_time(ROWS)
    theta = release.parameters().astype(np.float64)
    _, gradient = TWIN.loss_and_gradient(theta, rows[-32:].astype(np.float64), np.ones(32))
    expected, _ = TWIN.score(theta - 0.7 * gradient, held_back.astype(np.float64))
    asked = {"learning_rate": 0.1, "inner_rate": 0.7}
    loss, count = held_back_loss(release.parameters(), ROWS, opened(release), settings=asked)
    assert loss == pytest.approx(float(expected.mean()), rel=1e-5)
    assert count == len(held_back)


SETTINGS: dict[str, tuple[str, dict[str, float], str]] = {
    "beyond its limit": ("ditto_step", {"pull": 11.0}, "pull 11.0 asked, 0 to 10 allowed by the release"),
    "below its limit": ("clipped_step", {"sigma": -0.1}, "sigma -0.1 asked, 0 to 100"),
    "not a number": ("pfedme_step", {"inner_rate": float("nan")}, "inner_rate nan asked"),
    "of another rule": ("ditto_step", {"sigma": 1.0}, r"settings \['sigma'\] asked; this release's training has"),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_a_setting_the_release_does_not_allow_is_refused_with_its_limits(what: str) -> None:
    rule, settings, text = SETTINGS[what]
    with pytest.raises(TrainingRefused, match=text):
        learnt(released(rule), settings=settings)


def test_a_setting_that_is_not_asked_has_the_releases_default() -> None:
    release = released("ditto_step")
    given = learnt(release, settings={"pull": 0.1})
    np.testing.assert_array_equal(learnt(release).own.personal, given.own.personal)
    assert not np.array_equal(learnt(release, settings={"pull": 0.5}).own.personal, given.own.personal)


# What stays on the gateway: the file.


def own_of(seed: int) -> OwnParameters:
    return OwnParameters(personal=np.random.default_rng(seed).standard_normal(3704).astype(np.float32))


def test_own_parameters_are_there_after_a_restart(tmp_path: Path) -> None:
    release, own = released("ditto_step"), own_of(1)
    PersonalShelf(tmp_path).keep(release, "round 1", NOTHING_OWN, own)
    again = PersonalShelf(tmp_path).current(release)
    np.testing.assert_array_equal(again.personal, own.personal)
    assert again.machine is None
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_task_done_again_after_a_crash_starts_from_the_same_parameters(tmp_path: Path) -> None:
    release = released("ditto_step")
    PersonalShelf(tmp_path).keep(release, "round 2", own_of(1), own_of(2))
    shelf = PersonalShelf(tmp_path)
    np.testing.assert_array_equal(shelf.before(release, "round 2").personal, own_of(1).personal)
    np.testing.assert_array_equal(shelf.before(release, "round 3").personal, own_of(2).personal)


def test_a_release_of_the_same_family_with_another_rule_keeps_them(tmp_path: Path) -> None:
    shelf = PersonalShelf(tmp_path)
    shelf.keep(released("ditto_step"), "round 1", NOTHING_OWN, own_of(1))
    np.testing.assert_array_equal(shelf.current(released("pfedme_step", version=2)).personal, own_of(1).personal)


def of_another_network(release: Release) -> Release:
    spec = json.loads(release.files["spec.json"])
    spec["parameters"][0]["name"] = "first_weight"
    return Release(release.manifest, "d", {**release.files, "spec.json": json.dumps(spec).encode()}, "k", True)


def test_parameters_of_another_network_wait_with_a_word_until_it_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = PersonalShelf(tmp_path)
    release = released("ditto_step")
    shelf.keep(release, "round 1", NOTHING_OWN, own_of(1))
    other = of_another_network(release)
    with caplog.at_level(logging.WARNING):
        assert shelf.current(other) == NOTHING_OWN
    assert "personal_parameters_aside" in caplog.text
    shelf.keep(other, "round 2", NOTHING_OWN, own_of(2))
    for again in (shelf, PersonalShelf(tmp_path)):
        np.testing.assert_array_equal(again.fitting(release).personal, own_of(1).personal)
        np.testing.assert_array_equal(again.current(release).personal, own_of(1).personal)
        np.testing.assert_array_equal(again.fitting(other).personal, own_of(2).personal)
    after_restart = PersonalShelf(tmp_path)
    np.testing.assert_array_equal(after_restart.current(other).personal, own_of(2).personal)
    np.testing.assert_array_equal(after_restart.current(release).personal, own_of(1).personal)


def test_parameters_come_back_with_their_network_also_where_the_other_had_none(tmp_path: Path) -> None:
    shelf, release = PersonalShelf(tmp_path), released("ditto_step")
    shelf.keep(release, "round 1", NOTHING_OWN, own_of(1))
    assert shelf.current(of_another_network(release)) == NOTHING_OWN
    np.testing.assert_array_equal(PersonalShelf(tmp_path).current(release).personal, own_of(1).personal)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[:-5],
    "empty": lambda _: b"",
    "noise": lambda _: bytes(range(256)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_put_aside_and_learning_starts_from_the_release(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = released("ditto_step")
    PersonalShelf(tmp_path).keep(release, "round 1", NOTHING_OWN, own_of(1))
    (tmp_path / FILE_NAME).write_bytes(DAMAGE[what]((tmp_path / FILE_NAME).read_bytes()))
    with caplog.at_level(logging.ERROR):
        assert PersonalShelf(tmp_path).current(release) == NOTHING_OWN
    assert "personal_parameters_unreadable" in caplog.text
    assert [path.suffix for path in tmp_path.iterdir()] == [".unreadable"]


def test_parameters_with_nan_are_no_file_of_ours(tmp_path: Path) -> None:
    release = released("ditto_step")
    broken = OwnParameters(personal=np.full(3704, np.nan, np.float32))
    PersonalShelf(tmp_path).keep(release, "round 1", NOTHING_OWN, broken)
    assert PersonalShelf(tmp_path).current(release) == NOTHING_OWN


# The same through the gateway's Flower app.


def asked(release: Release, **changes: Any) -> LearningTask:
    fields: dict[str, Any] = {
        "round_number": 1, "base_version": 1, "graph": release.manifest.files[TRAIN_STEP].sha256,
        "theta": release.parameters(), "steps": 5, "learning_rate": 1.0, "proximal": 0.0, "seed": 0, **changes,
    }  # fmt: skip
    return LearningTask(**fields)


def reply_of(release: Release, folder: Path, task: LearningTask, kind: str = "train") -> Message:
    """What a gateway that has just started says to a task."""
    slot = ModelSlot()
    slot.load(release)
    return _asked_of(
        make_client_app(lambda: release, slot.train_step, lambda: ROWS, personal=PersonalShelf(folder)), task, kind
    )


def _asked_of(app: ClientCall, task: LearningTask, kind: str) -> Message:
    take_identity(1)
    message = Message(task.record(), 5, kind, group_id="1")
    name_message(message, "0" * 32)
    return load_message(dump_message(answer(app, new_context(5, {}), load_message(dump_message(message)))))


def test_settings_of_a_task_reach_the_graph(tmp_path: Path) -> None:
    release = released("ditto_step")
    for folder, pull in (("a", 0.0), ("b", 10.0)):
        reply_of(release, tmp_path / folder, asked(release, settings={"pull": pull}, learning_rate=0.05, steps=50))
    free, held = (PersonalShelf(tmp_path / folder).current(release).personal for folder in ("a", "b"))
    assert free is not None
    assert held is not None
    theta = release.parameters()
    assert np.linalg.norm(held - theta) < 0.5 * np.linalg.norm(free - theta)


def test_a_task_beyond_the_releases_limits_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    release = released("ditto_step")
    for kind in ("train", "evaluate"):
        reply = reply_of(release, tmp_path, asked(release, settings={"pull": 1e9}), kind)
        assert "pull 1000000000.0 asked, 0 to 10 allowed" in (reply.error.reason or "")
    assert not list(tmp_path.iterdir())


def test_what_a_gateway_says_does_not_hold_its_own_parameters(tmp_path: Path) -> None:
    release = released("ditto_step", levels=HEAD)
    reply = reply_of(release, tmp_path, asked(release))
    arrays = {key: [*record] for key, record in reply.content.array_records.items()}
    assert arrays == {"delta": ["theta"]}
    assert not TrainingReply.read(reply).delta[HEAD_PART].any()
    kept = PersonalShelf(tmp_path).current(release)
    assert kept.personal is not None
    assert kept.machine is not None


def test_the_same_task_asked_after_a_restart_gets_the_same_update_and_trains_nothing_twice(tmp_path: Path) -> None:
    release = released("pfedme_step")
    first = reply_of(release, tmp_path, asked(release))
    once = PersonalShelf(tmp_path).current(release).personal
    again = reply_of(release, tmp_path, asked(release))
    np.testing.assert_array_equal(TrainingReply.read(first).delta, TrainingReply.read(again).delta)
    np.testing.assert_array_equal(once, PersonalShelf(tmp_path).current(release).personal)
    reply_of(release, tmp_path, asked(release, round_number=2))
    assert not np.array_equal(once, PersonalShelf(tmp_path).current(release).personal)


def test_asking_again_does_not_average_the_noise_out_and_nobody_else_can_draw_it(tmp_path: Path) -> None:
    release = released("clipped_step")
    slot = ModelSlot()
    slot.load(release)
    fewer = ROWS[:-20]

    def update(secret: bytes, rows: Rows, round_number: int) -> Rows:
        app = make_client_app(lambda: release, slot.train_step, lambda: rows, noise_secret=secret)
        task = asked(release, settings={"sigma": 1.0}, round_number=round_number)
        delta: Rows = TrainingReply.read(_asked_of(app, task, "train")).delta
        return delta

    first = update(b"a" * 32, ROWS, 1)
    np.testing.assert_array_equal(update(b"a" * 32, ROWS, 1), first)
    for other in (update(b"b" * 32, ROWS, 1), update(b"a" * 32, fewer, 1), update(b"a" * 32, ROWS, 2)):
        assert np.linalg.norm(other - first) > 0.5 * np.linalg.norm(first)


def test_a_gateway_judges_shared_parameters_with_its_own_part_in_place(tmp_path: Path) -> None:
    release = released("adam_prox_step", levels=HEAD)
    task = asked(release, learning_rate=3e-3, steps=60)
    said = TrainingReply.read(reply_of(release, tmp_path, task))
    merged = asked(release, theta=release.parameters() + said.delta, learning_rate=3e-3)
    judged = EvaluationReply.read(reply_of(release, tmp_path, merged, "evaluate"))
    assert judged.loss == pytest.approx(said.loss_after, rel=1e-6)
