"""What was said once is read for ever: every message, capture, fragment and file against committed bytes."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from schemas import messages
from schemas.capture import Capture
from schemas.errors import MessageRejected
from tests.contract.golden_contract import FOLDER, GOLDEN, Golden

EVERY = pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.file)
WRITTEN = pytest.mark.parametrize("golden", [g for g in GOLDEN if g.write], ids=lambda golden: golden.file)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Capture):
        return all(
            np.array_equal(a, b)
            if isinstance(a, np.ndarray)
            else a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))
            for a, b in (
                (getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(Capture)
            )
        )
    if isinstance(one, Message):
        if one.has_error():
            return bool(one.error == other.error)
        return bool(one.content == other.content) and one.metadata.__dict__ == other.metadata.__dict__
    return bool(one == other)


@EVERY
def test_committed_bytes_are_read_as_what_was_meant(golden: Golden) -> None:
    assert same(golden.read(golden.path.read_bytes()), golden.thing)


@WRITTEN
def test_what_is_meant_is_written_as_the_committed_bytes(golden: Golden) -> None:
    assert golden.write is not None
    assert golden.write(golden.thing) == golden.path.read_bytes()


def test_every_message_of_the_contract_has_an_example() -> None:
    kinds = {kind.model_fields["kind"].default for kind in messages.Message.__args__}
    assert {golden.file for golden in GOLDEN} >= {f"{kind}.v1.json" for kind in kinds}


def test_every_message_has_an_example_of_how_it_is_written_now() -> None:
    kinds = {kind.model_fields["kind"].default for kind in messages.Message.__args__}
    assert {golden.thing.kind for golden in GOLDEN if golden.write is messages.encode} == kinds


def test_no_example_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {golden.file for golden in GOLDEN}


@pytest.mark.parametrize("golden", [g for g in GOLDEN if g.file.endswith(".json")], ids=lambda golden: golden.file)
def test_a_message_with_a_key_nobody_knows_is_refused(golden: Golden) -> None:
    with pytest.raises(ValueError, match=r"unexpected|Extra inputs"):
        golden.read(golden.path.read_bytes().replace(b"{", b'{"surprise":1,', 1))


@pytest.mark.parametrize(
    "golden",
    [g for g in GOLDEN if g.file.endswith(".json") and "manifest" not in g.file],
    ids=lambda golden: golden.file,
)
def test_a_message_of_the_next_version_is_refused_by_name(golden: Golden) -> None:
    with pytest.raises(MessageRejected, match="has version 2; update this program") as caught:
        golden.read(golden.path.read_bytes().replace(b'"version":1', b'"version":2', 1))
    assert caught.value.reason == "unknown_version"
