"""A release that must not be loaded is refused with its reason, and the model before it goes on scoring."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from aggregator.release_making import next_release
from gateway_agent.model_slot import ModelSlot, load_model
from schemas.errors import ReleaseRejected
from schemas.release import (
    GOLDEN,
    MANIFEST,
    PARAMETERS,
    SCORE,
    SIGNATURE,
    SPEC,
    TEACHER,
    TRAIN_STEP,
    Release,
    golden_file,
    make_release,
)
from schemas.signing import Signer
from schemas.training_graph import read_training_graph
from tests.support.learning import builtin, healthy_rows
from tests.support.numpy_autoencoder import NumpyAutoencoder

SIGNER = Signer.generate()
GOOD = builtin(SIGNER, version=1)


def remade(*, files: dict[str, bytes] | None = None, **description: object) -> Release:
    """The good release as version 2 with some of it exchanged, properly signed: what a broken build would give."""
    fields = {**GOOD.manifest.model_dump(exclude={"files"}), "release_version": 2, **description}
    kept = {name: blob for name, blob in GOOD.files.items() if name not in {MANIFEST, SIGNATURE}}
    return make_release(fields, {**kept, **(files or {})}, SIGNER)


def other_parameters(value: float) -> dict[str, bytes]:
    return {PARAMETERS: np.full(GOOD.manifest.parameter_count, value, "<f4").tobytes()}


def renamed_input() -> dict[str, bytes]:
    return {SCORE: GOOD.files[SCORE].replace(b"theta", b"thetb")}


def step_graph(
    *, with_loop: bool = False, domain: str = "", external: bool = False, expanded_to: int = 0,
    operator: str = "Identity", constant: float = 1.0, cut_to: int = 3704,
) -> bytes:  # fmt: skip
    """A training graph that moves nothing and reports a loss of 1; wrong as asked."""
    tensor = onnx.helper.make_tensor
    if external:
        one = onnx.TensorProto(name="one", data_type=1, dims=[], data_location=onnx.TensorProto.EXTERNAL)
        one.external_data.add(key="location", value="../../etc/hostname")
    else:
        one = tensor("one", 1, [], [constant])
    node = onnx.helper.make_node
    nodes = [
        node("ReduceMean", ["x"], ["mean"], keepdims=0),
        node("ReduceMean", ["noise"], ["mean_noise"], keepdims=0),
        node("ReduceMean", ["weight"], ["mean_weight"], keepdims=0),
        node("Max", ["mean", "mean_noise", "mean_weight", "one"], ["loss"]),
        node("Slice", ["theta", "start", "end"], ["theta_next"]),
    ]
    if operator != "Identity" or domain:
        nodes += [
            node(operator, ["theta"], ["more"], domain=domain),
            node("Slice", ["more", "start", "end"], ["theta_more"]),
        ]
        nodes[4] = node("Identity", ["theta_more"], ["theta_next"])
        nodes.append(nodes.pop(4))
    if expanded_to:
        nodes.append(node("Expand", ["one", "much"], ["memory"]))
    if with_loop:
        body = onnx.helper.make_graph([], "body", [], [])
        nodes.append(node("Loop", ["", ""], [], body=body))
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "step",
        [info("theta", 1, [3704]), info("x", 1, [8, 48]), info("weight", 1, [8]), info("noise", 1, [3704])],
        [info("theta_next", 1, [cut_to]), info("loss", 1, [])],
        [one, tensor("start", 7, [1], [0]), tensor("end", 7, [1], [cut_to]), tensor("much", 7, [1], [expanded_to])],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 17)] + ([onnx.helper.make_opsetid(domain, 1)] if domain else [])
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 9
    return bytes(model.SerializeToString())


def described(
    step: bytes, *, rename: dict[str, str] | None = None, shape: list[int] | None = None, **changes: Any
) -> Release:
    """A release with this training graph and a spec.json that says what it takes; wrong as asked."""
    spec = json.loads(GOOD.files[SPEC])
    roles = {"theta": "parameters", "x": "samples", "weight": "weights", "noise": "noise"}
    shapes = {"theta": [3704], "x": shape or [8, 48], "weight": [8], "noise": [3704]}
    inputs = [{"name": n, "shape": shapes[n], "role": (rename or {}).get(r, r)} for n, r in roles.items()]
    if "role" in changes:
        inputs[3]["role"] = changes.pop("role")
        if inputs[3]["role"] is None:
            del inputs[3]["role"]
    row = {
        "sha256": hashlib.sha256(step).hexdigest(), "inputs": inputs, "next_values": {"theta_next": "theta"},
        "outputs": [{"name": "theta_next"}, {"name": "loss"}], **changes,
    }  # fmt: skip
    spec["graphs"] = {"step": row}
    return remade(files={TRAIN_STEP: step, SPEC: json.dumps(spec).encode()})


BROKEN: dict[str, tuple[str, Callable[[], Release]]] = {
    "graph cut short": ("malformed", lambda: remade(files={SCORE: GOOD.files[SCORE][:-40]})),
    "graph of noise": ("malformed", lambda: remade(files={SCORE: bytes(range(256)) * 8})),
    "inputs of other names": ("other_shape", lambda: remade(files=renamed_input())),
    "training graph in place of inference": ("other_shape", lambda: remade(files={SCORE: GOOD.files[TRAIN_STEP]})),
    "a training graph that spec.json does not describe": (
        "bad_spec",
        lambda: remade(files={TRAIN_STEP: step_graph()}),
    ),
    "a loop in training": ("subgraph", lambda: described(step_graph(with_loop=True))),
    "an operator of somebody's own in training": ("custom_domain", lambda: described(step_graph(domain="some.where"))),
    "constants outside the file": ("external_data", lambda: described(step_graph(external=True))),
    "4.8 GB of constants": ("oversized_tensor", lambda: described(step_graph(expanded_to=1_200_000_000))),
    "constants made at run time": ("operator", lambda: described(step_graph(operator="ConstantOfShape"))),
    "constants that are NaN": ("not_finite", lambda: described(step_graph(constant=float("nan")))),
    "a step that gives NaN": ("not_finite", lambda: described(step_graph(operator="Log"))),
    "a step that gives fewer parameters": ("not_finite", lambda: described(step_graph(cut_to=100))),
    "an input of a role that is not known": ("unknown_role", lambda: described(step_graph(), role="oracle")),
    "an input without a role": ("unknown_role", lambda: described(step_graph(), role=None)),
    "samples for noise": (
        "wrong_role",
        lambda: described(step_graph(), rename={"samples": "noise", "noise": "samples"}),
    ),
    "parameters for a setting": ("bad_spec", lambda: described(step_graph(), role="setting")),
    "no samples": ("bad_spec", lambda: described(step_graph(), rename={"samples": "anchor"})),
    "a shape that is not the graph's": ("other_shape", lambda: described(step_graph(), shape=[7, 48])),
    "a loss that is not told": ("bad_spec", lambda: described(step_graph(), outputs=[{"name": "theta_next"}])),
    "parameters that do not come out": ("bad_spec", lambda: described(step_graph(), next_values={})),
    "a spec that is no JSON": ("bad_spec", lambda: remade(files={SPEC: b"\xff"})),
    "a spec that is a list": ("bad_spec", lambda: remade(files={SPEC: b"[]"})),
    "a spec nested without end": ("bad_spec", lambda: remade(files={SPEC: b"[" * 100_000})),
    "levels of parts that are not there": ("bad_levels", lambda: remade(levels={"tail": "machine"})),
    "a teacher cut short": ("bad_teacher", lambda: remade(files={TEACHER: b"\0" * 400})),
    "a teacher of NaN": ("bad_teacher", lambda: remade(files={TEACHER: b"\xff" * 4 * 3704})),
    "fewer parameters": (
        "other_shape",
        lambda: remade(files={PARAMETERS: b"\0" * 4 * 100}, parameter_count=100),
    ),
    "other features": ("other_features", lambda: remade(features="cepstrum_48")),
    "another width": ("other_features", lambda: remade(inputs=64)),
    "parameters of another release": ("bad_golden", lambda: remade(files=other_parameters(0.5))),
    "golden vectors cut short": ("bad_golden", lambda: remade(files={GOLDEN: GOOD.files[GOLDEN][:50]})),
    "golden vectors of no rows": (
        "bad_golden",
        lambda: remade(files={GOLDEN: golden_file(np.zeros((0, 48), np.float32), np.zeros(0, np.float32))}),
    ),
    "scores that overflow": ("bad_golden", lambda: remade(files=other_parameters(3e38))),
}


@pytest.fixture
def slot() -> ModelSlot:
    slot = ModelSlot()
    slot.load(GOOD)
    return slot


def test_the_training_graph_that_is_broken_below_is_good_as_it_stands(slot: ModelSlot) -> None:
    slot.load(described(step_graph()))
    assert slot.version == 2


def test_a_release_from_before_roles_were_written_down_is_trained_by_the_plain_step(slot: ModelSlot) -> None:
    spec = json.loads(GOOD.files[SPEC])
    for row in spec["graphs"].values():
        row.pop("next_values", None)
        row["inputs"] = [{"name": each["name"], "shape": each["shape"]} for each in row["inputs"]]
    old = remade(files={SPEC: json.dumps(spec).encode()})
    slot.load(old)
    assert slot.train_step().graph == read_training_graph(GOOD.files[SPEC], GOOD.manifest.files[TRAIN_STEP].sha256)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_release_is_refused_and_the_last_good_one_goes_on_scoring(what: str, slot: ModelSlot) -> None:
    reason, make = BROKEN[what]
    rows = healthy_rows(1)
    before, _ = slot.score(rows)
    with pytest.raises(ReleaseRejected) as caught:
        slot.load(make())
    assert caught.value.reason == reason
    assert slot.release is GOOD
    np.testing.assert_array_equal(slot.score(rows)[0], before)


def test_scores_are_those_of_the_model_written_by_hand(slot: ModelSlot) -> None:
    rows = healthy_rows(1)
    expected, reconstruction = NumpyAutoencoder((48, 32, 8, 32, 48)).score(GOOD.parameters(), rows)
    score, rebuilt = slot.score(rows)
    np.testing.assert_allclose(score, expected, rtol=1e-4)
    np.testing.assert_allclose(rebuilt, reconstruction, atol=1e-5)


def test_a_new_release_scores_from_the_next_call_on(slot: ModelSlot) -> None:
    rows = healthy_rows(1)
    newer = builtin(SIGNER, seed=9, version=2)
    before, _ = slot.score(rows)
    slot.load(newer)
    assert slot.release is newer
    assert not np.array_equal(slot.score(rows)[0], before)


def test_the_spec_travels_with_the_release() -> None:
    assert json.loads(GOOD.files["spec.json"])["features"] == 48


def test_two_releases_of_one_graph_share_what_was_opened_and_each_scores_by_its_own_parameters() -> None:
    before = load_model(GOOD)
    newer = next_release(
        GOOD, GOOD.parameters() * np.float32(1.5), SIGNER, version=2, level="site", created_at_us=1, data={},
        metrics={}, merge={},
    )  # fmt: skip
    after, alone = load_model(newer, before), load_model(newer)
    rows = healthy_rows(1, 5)
    assert after.session is before.session
    np.testing.assert_array_equal(after.score(rows)[0], alone.score(rows)[0])
    assert not np.array_equal(after.score(rows)[0], before.score(rows)[0])
