"""Two processes of one machine hand each other containers: who may, what is refused, and what a dead peer costs."""

import grp
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import SettingsError, TensorsRejected
from schemas.local_socket import Channel, Listener, PeerGone


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ut-") as folder:  # socket paths are short
        yield Path(folder) / "door.sock"


@pytest.fixture
def ends(place: Path) -> Iterator[tuple[Channel, Channel]]:
    listener = Listener(place)
    near = Channel.connect(place, timeout_s=5)
    far = listener.accept(5)
    assert far is not None
    yield near, far
    for end in (near, far):
        end.close()
    listener.close()


def test_what_is_sent_arrives_whole_however_large(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    near.send({"do": "push"}, {"message": b"small"}, timeout_s=5)
    assert far.receive(timeout_s=5) == ({"do": "push"}, {"message": b"small"})
    far.send({}, {"reply": os.urandom(150_000)}, timeout_s=5)
    assert len(near.receive(timeout_s=5)[1]["reply"]) == 150_000


def test_only_the_owner_may_connect_unless_a_group_is_named(place: Path) -> None:
    listener = Listener(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    listener.close()
    assert not place.exists()


def test_named_group_may_connect(place: Path) -> None:
    listener = Listener(place, grp.getgrgid(os.getgid()).gr_name)
    assert stat.S_IMODE(place.stat().st_mode) == 0o660
    listener.close()


def test_socket_of_a_former_life_is_replaced(place: Path) -> None:
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(str(place))
    left_over.close()
    listener = Listener(place)
    Channel.connect(place, timeout_s=5).close()
    listener.close()


def test_group_that_is_not_there_is_said(place: Path) -> None:
    with pytest.raises(SettingsError, match="nobody-has-this-group"):
        Listener(place, "nobody-has-this-group")


def test_path_too_long_for_a_socket_is_said_with_what_is_allowed(place: Path) -> None:
    with pytest.raises(SettingsError, match="103 allowed"):
        Listener(place.parent / ("x" * 120))


def test_nobody_there_is_said(place: Path) -> None:
    with pytest.raises(PeerGone, match=r"door\.sock"):
        Channel.connect(place, timeout_s=5)


def test_peer_that_closes_is_seen_at_once_and_ends_a_wait(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    assert not near.is_over
    far.close()
    assert near.is_over
    with pytest.raises(PeerGone, match="closed"):
        near.receive(timeout_s=5)


@pytest.fixture
def stranger(place: Path) -> Iterator[tuple[socket.socket, Channel]]:
    """Somebody who speaks no language of ours, and the end that listens to it."""
    listener = Listener(place)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(place))
        far = listener.accept(5)
        assert far is not None
        yield raw, far
        far.close()
    listener.close()


def test_peer_that_stops_in_the_middle_is_not_waited_for_longer_than_said(
    stranger: tuple[socket.socket, Channel],
) -> None:
    raw, far = stranger
    raw.sendall(struct.pack("<I", 1000) + b"only so much")
    with pytest.raises(PeerGone, match="says nothing"):
        far.receive(timeout_s=0.05)


@pytest.mark.parametrize(
    ("frame", "error"),
    [(struct.pack("<I", 1 << 31), PeerGone), (struct.pack("<I", 60) + b"x" * 60, TensorsRejected)],
)
def test_frame_that_is_none_is_refused_before_anything_is_allocated(
    stranger: tuple[socket.socket, Channel], frame: bytes, error: type[Exception]
) -> None:
    raw, far = stranger
    raw.sendall(frame)
    with pytest.raises(error):
        far.receive(timeout_s=5)
