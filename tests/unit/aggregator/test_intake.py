"""What the historian takes in, and what it refuses and why."""

import pytest

from aggregator.intake import HEAD_BYTES, Refused, read
from schemas.messages import GatewayStatus, RecordBatch, encode
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.topics import COMMAND, RECORDS
from tests.support import gateway_talk as talk

SIGNER, OTHER = Signer.generate(), Signer.generate()
KEYS = talk.ring(gw_1=SIGNER, gw_2=OTHER)
TOPIC = RECORDS.path(site=talk.SITE, gateway=talk.GATEWAY)


def reason_for(topic: str, payload: bytes, keys: KeyRing = KEYS) -> str:
    refused = read(topic, payload, site=talk.SITE, keys=keys)
    assert isinstance(refused, Refused)
    assert refused.text
    return refused.reason


def test_records_and_status_of_an_enrolled_gateway_are_read() -> None:
    said = talk.healths(0, 1)
    assert read(*talk.sealed_records(SIGNER, said), site=talk.SITE, keys=KEYS) == said
    present = talk.status()
    read_status = read(*talk.sealed_status(SIGNER, present), site=talk.SITE, keys=KEYS)
    assert isinstance(read_status, GatewayStatus)
    assert read_status == present


def test_payload_without_a_seal_is_refused() -> None:
    assert reason_for(TOPIC, encode(talk.healths(0))) == "unsigned"
    assert reason_for(TOPIC, b"") == "unsigned"


def test_key_that_is_not_on_the_list_is_refused() -> None:
    topic, sealed = talk.sealed_records(Signer.generate(), talk.healths(0))
    assert reason_for(topic, sealed) == "unknown_key"


def test_gateway_cannot_speak_on_another_ones_topic() -> None:
    said = talk.healths(0)
    assert reason_for(*talk.sealed_records(OTHER, said)) == "wrong_speaker"


def test_gateway_cannot_speak_in_another_ones_name_on_its_own_topic() -> None:
    topic = RECORDS.path(site=talk.SITE, gateway="gw-2")
    assert reason_for(topic, OTHER.seal(topic, encode(talk.healths(0)))) == "wrong_gateway"


def test_key_of_another_role_with_the_same_name_is_refused() -> None:
    dashboard = Signer.generate()
    keys = KeyRing([AllowedKey(talk.GATEWAY, "dashboard", dashboard.public)])
    topic, sealed = talk.sealed_records(dashboard, talk.healths(0))
    assert reason_for(topic, sealed, keys) == "wrong_speaker"


def test_payload_sealed_for_another_topic_cannot_be_replayed_here() -> None:
    _, sealed = talk.sealed_status(SIGNER, talk.status())
    assert reason_for(TOPIC, sealed) == "bad_signature"


def test_payload_changed_on_its_way_is_refused() -> None:
    topic, sealed = talk.sealed_records(SIGNER, talk.healths(0))
    assert reason_for(topic, sealed[:-1] + b"]") == "bad_signature"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{nonsense", "not_json"),
        (b"[]", "bad_field"),
        (encode(talk.healths(0)).replace(b'"version":1,"gateway"', b'"version":9,"gateway"'), "unknown_version"),
        (encode(talk.healths(0)).replace(b'"score":0.5', b'"score":1e999'), "bad_field"),
        (encode(talk.healths(0)).replace(b'"quality":"ok"', b'"quality":"ok","more":1'), "bad_field"),
    ],
)
def test_signed_nonsense_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    assert reason_for(TOPIC, SIGNER.seal(TOPIC, body)) == reason


@pytest.mark.parametrize(
    "topic", [TOPIC.replace(talk.SITE, "plant-b"), COMMAND.path(site=talk.SITE, gateway="gw-1"), "nowhere", ""]
)
def test_topic_of_somebody_else_is_refused(topic: str) -> None:
    assert reason_for(topic, SIGNER.seal(topic, encode(talk.healths(0)))) == "wrong_topic"


def test_unsafe_name_in_a_topic_is_refused() -> None:
    topic = TOPIC.replace(talk.GATEWAY, "GW 1")
    assert reason_for(topic, SIGNER.seal(topic, encode(talk.healths(0)))) == "bad_name"


def test_a_refusal_keeps_only_the_head_of_what_came() -> None:
    refused = read(TOPIC, b"x" * 10_000, site=talk.SITE, keys=KEYS)
    assert isinstance(refused, Refused)
    assert (len(refused.head), refused.size_bytes) == (HEAD_BYTES, 10_000)
    assert not isinstance(refused, RecordBatch)
