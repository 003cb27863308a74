"""A release that must not be loaded is refused with its reason, and the model before it goes on scoring."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from aggregator.foundry.artefacts import BUILT
from gateway_agent.model_slot import ModelSlot
from schemas.errors import ReleaseRejected
from schemas.release import (
    GOLDEN,
    MANIFEST,
    PARAMETERS,
    SCORE,
    SIGNATURE,
    TRAIN_STEP,
    Release,
    golden_file,
    make_release,
)
from schemas.signing import Signer
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


BROKEN: dict[str, tuple[str, Callable[[], Release]]] = {
    "graph cut short": ("malformed", lambda: remade(files={SCORE: GOOD.files[SCORE][:-40]})),
    "graph of noise": ("malformed", lambda: remade(files={SCORE: bytes(range(256)) * 8})),
    "inputs of other names": ("other_shape", lambda: remade(files=renamed_input())),
    "training graph in place of inference": ("other_shape", lambda: remade(files={SCORE: GOOD.files[TRAIN_STEP]})),
    "another learning rule": (
        "other_shape",
        lambda: remade(files={TRAIN_STEP: (BUILT / "dense_autoencoder_48" / "ditto_step.onnx").read_bytes()}),
    ),
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
