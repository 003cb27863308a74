"""The supervisor of a SuperLink with real processes: refused submissions are told, bounded, and end with a restart."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.carriers.superlink_carrier import SuperLinkCarrier
from aggregator.settings import SuperLinkCarrierSettings
from schemas.signing import KeyRing
from tests.support.brokers import free_port
from tests.support.learning import wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ut-") as folder:  # socket paths are short
        yield Path(folder)


def refusing(folder: Path) -> Path:
    flwr = folder / "flwr"
    flwr.write_text(f"#!/bin/sh\necho run >> {folder}/asked\necho no such federation\nexit 1\n")
    flwr.chmod(0o755)
    return flwr


def test_runs_that_are_refused_are_bounded_and_told_and_tried_again_once_the_superlink_was_restarted(
    folder: Path,
) -> None:
    port = free_port()
    settings = SuperLinkCarrierSettings(port=port, insecure=True, flwr=refusing(folder), attempts=1)
    carrier = SuperLinkCarrier(settings, folder, KeyRing([]))
    carrier.start()
    try:
        assert wait_until(
            lambda: "does not answer" in carrier.story()["text"] or carrier.story()["state"] == "away", 60
        )
        assert not (folder / "asked").exists()
        with socket.create_server(("127.0.0.1", port)):
            assert wait_until(lambda: carrier.story()["state"] == "given_up", 60)
            assert "no such federation" in carrier.story()["text"]
            assert carrier.story()["runs"] == {"submitted": 1, "refused": 1, "lost": 0}
        assert wait_until(lambda: carrier.story()["state"] == "away", 60)
        with socket.create_server(("127.0.0.1", port)):
            assert wait_until(lambda: carrier.story()["runs"]["refused"] == 2, 60)
    finally:
        carrier.stop()
    assert (folder / "asked").read_text() == "run\nrun\n"


def test_submission_under_way_does_not_hold_up_the_end(folder: Path) -> None:
    flwr = folder / "flwr"
    flwr.write_text(f"#!/bin/sh\ntouch {folder}/asked\nsleep 600\n")
    flwr.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as superlink:
        port = superlink.getsockname()[1]
        carrier = SuperLinkCarrier(
            SuperLinkCarrierSettings(port=port, insecure=True, flwr=flwr), folder, KeyRing([])
        )  # fmt: skip
        carrier.start()
        assert wait_until((folder / "asked").exists, 60)
        carrier.stop()
    assert carrier.fault is None
