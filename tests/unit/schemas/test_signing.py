"""Nothing is believed that was not sealed for this topic by a key on the list, for the name it speaks for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SecretMissing, SettingsError, SignatureRejected
from schemas.signing import SEAL_BYTES, AllowedKey, KeyRing, Signer
from tests.contract.golden_contract import KEY, RING, TOPIC

STRANGER = Signer.generate()


def reason_of(ring: KeyRing, topic: str, sealed: bytes, **who: str) -> str:
    with pytest.raises(SignatureRejected) as caught:
        ring.open(topic, sealed, **{"role": "gateway", **who})  # type: ignore[arg-type]
    return caught.value.reason


@given(st.text(max_size=40), st.binary(max_size=200))
def test_what_is_sealed_opens_for_its_topic_and_for_no_other(topic: str, body: bytes) -> None:
    sealed = KEY.seal(topic, body)
    assert len(sealed) == len(body) + SEAL_BYTES
    assert RING.open(topic, sealed, role="gateway", name="gw-1") == body
    assert reason_of(RING, topic + "x", sealed) == "bad_signature"


@given(st.binary(max_size=60), st.data())
def test_a_bit_flipped_anywhere_is_refused(body: bytes, data: st.DataObject) -> None:
    sealed = bytearray(KEY.seal(TOPIC, body))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    assert reason_of(RING, TOPIC, bytes(sealed)) in {"unsigned", "unknown_key", "bad_signature"}


@given(st.binary(max_size=150) | st.binary(max_size=100).map(lambda tail: b"UTS1" + tail))
def test_any_bytes_are_refused(sealed: bytes) -> None:
    assert reason_of(RING, TOPIC, sealed) in {"unsigned", "unknown_key"}


def test_topic_and_body_cannot_be_shifted_into_each_other() -> None:
    sealed = KEY.seal("a", b"b\0c")
    assert reason_of(RING, "a\0b", sealed) == "bad_signature"


def test_a_key_that_is_not_on_the_list_is_refused_with_its_name() -> None:
    with pytest.raises(SignatureRejected, match=STRANGER.key_id) as caught:
        RING.open(TOPIC, STRANGER.seal(TOPIC, b"x"), role="gateway")
    assert caught.value.reason == "unknown_key"


def test_a_strangers_signature_under_a_known_name_is_refused() -> None:
    forged = KEY.seal(TOPIC, b"x")[:12] + STRANGER.seal(TOPIC, b"x")[12:]
    assert reason_of(RING, TOPIC, forged) == "bad_signature"


@pytest.mark.parametrize("who", [{"role": "site"}, {"role": "releaser"}, {"name": "gw-2"}])
def test_a_right_signature_of_the_wrong_speaker_is_refused(who: dict[str, str]) -> None:
    assert reason_of(RING, TOPIC, KEY.seal(TOPIC, b"x"), **who) == "wrong_speaker"


def test_a_key_and_a_list_come_back_from_disk(tmp_path: Path) -> None:
    STRANGER.save(tmp_path / "deep" / "signing.key")
    assert (tmp_path / "deep" / "signing.key").stat().st_mode & 0o077 == 0
    assert Signer.load(tmp_path / "deep" / "signing.key").public == STRANGER.public
    ring = RING.with_key(AllowedKey("north", "site", STRANGER.public))
    ring.save(tmp_path / "keys.toml")
    assert set(KeyRing.load(tmp_path / "keys.toml")) == set(ring)


def test_a_new_key_of_a_name_replaces_the_old_one_and_a_removed_one_is_gone() -> None:
    renewed = RING.with_key(AllowedKey("gw-1", "gateway", STRANGER.public))
    assert [key.public for key in renewed] == [STRANGER.public]
    assert len(renewed.without("gw-1", "gateway")) == 0
    assert len(renewed.without("gw-1", "site")) == 1


def test_an_empty_list_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text("")
    assert reason_of(KeyRing.load(tmp_path / "keys.toml"), TOPIC, KEY.seal(TOPIC, b"x")) == "unknown_key"


@pytest.mark.parametrize(
    "text",
    [
        "[[key",
        "key = 5",
        "key = [5]",
        '[key]\nname = "a"',
        '[[key]]\nname = "gw-1"\nrole = "gateway"',
        '[[key]]\nname = "gw-1"\nrole = "king"\npublic = "AAAA"',
        '[[key]]\nname = "gw-1"\nrole = "gateway"\npublic = "AAAA"',
        '[[key]]\nname = "gw-1"\nrole = "gateway"\npublic = "not base64!"',
        '[[key]]\nname = "gw/1"\nrole = "gateway"\npublic = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="',
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"keys\.toml"):
        KeyRing.load(tmp_path / "keys.toml")


def test_a_list_that_is_not_there_is_no_empty_list(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        KeyRing.load(tmp_path / "keys.toml")


@pytest.mark.parametrize("content", [None, b"", b"no key"])
def test_a_signing_key_that_is_missing_or_broken_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "signing.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SecretMissing, match="enrol again"):
        Signer.load(path)
