"""A whole gateway agent that learns for a SuperNode of its machine: from its own store, through a socket alone."""

import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from pydantic import ValidationError

from gateway_agent.builtin import builtin_release
from gateway_agent.settings import GatewaySettings
from gateway_agent.supernode_app import GatewayRefused, client
from gateway_agent.training import MIN_ROWS
from schemas.flower_codec import new_context, take_identity
from schemas.learning_task import TRAIN, LearningTask, TrainingReply
from schemas.local_socket import PeerGone
from schemas.member_link import node_id_of
from schemas.release import TRAIN_STEP
from tests.integration.test_gateway_on_a_broker import Gateway, make_gateway, publish, sensors
from tests.support.brokers import BrokerServer, embedded_broker
from tests.support.plant import wait_until

CAPTURES = MIN_ROWS + 24  # some go into the limits


@pytest.fixture
def broker() -> Iterator[BrokerServer]:
    with embedded_broker(["gw-1", "site", "sensors"]) as broker:
        yield broker


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ut-") as folder:  # socket paths are short
        yield Path(folder) / "learning.sock"


@pytest.fixture
def gateway(tmp_path: Path, broker: BrokerServer, socket: Path) -> Gateway:
    gateway = make_gateway(tmp_path, broker)
    text = gateway.settings.read_text()
    assert "take_part = false" in text
    gateway.settings.write_text(
        text.replace("take_part = false", f'carrier = "superlink"\nsupernode_socket = "{socket}"')
    )  # fmt: skip
    return gateway


def task() -> LearningTask:
    """What a site asks of a gateway that runs the release it came with."""
    first = builtin_release()
    assert first is not None
    return LearningTask(
        round_number=1, base_version=first.version, graph=first.manifest.files[TRAIN_STEP].sha256,
        theta=first.parameters(), steps=10, learning_rate=3e-3, proximal=0.0, seed=1,
    )  # fmt: skip


def ask(socket: Path | None, asked: LearningTask) -> TrainingReply:
    """Ask as the process does that a SuperNode starts for each message."""
    take_identity(1)
    node = node_id_of("gw-1")
    context = new_context(node, {} if socket is None else {"socket": str(socket)})
    return TrainingReply.read(client(Message(asked.record(), node, TRAIN, group_id="1"), context))


def test_agent_learns_for_its_supernode_from_its_own_store_and_goes_on_after_a_restart(
    gateway: Gateway, socket: Path
) -> None:
    with gateway.running(), sensors(gateway.broker) as (link, _):
        with pytest.raises(GatewayRefused, match="rows"):
            ask(socket, task())
        publish(link, *range(CAPTURES))
        gateway.wait_stored(CAPTURES, 60)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        wait_until("the same task gives the same update", lambda: same_twice(socket), within_s=60)
        wait_until("the status tells", lambda: gateway.status()["live"]["learning_tasks"].get("answered", 0) >= 2)
    with gateway.running():
        learnt = ask(socket, task())
    assert learnt.weight > 0
    assert np.isfinite(learnt.delta).all()
    assert np.abs(learnt.delta).max() > 0


def same_twice(socket: Path) -> bool:
    """Whether asking twice trains once, as for a task that comes again with a new run; rows may still come in."""
    return np.array_equal(ask(socket, task()).delta, ask(socket, task()).delta)


def test_what_no_site_may_ask_is_refused_with_its_reason_whoever_asks(gateway: Gateway, socket: Path) -> None:
    with gateway.running():
        with pytest.raises(GatewayRefused, match="steps 1000000"):
            ask(socket, replace(task(), steps=1_000_000))
        with pytest.raises(GatewayRefused, match="of another model"):
            ask(socket, replace(task(), graph="00" * 32))


@pytest.mark.parametrize("learning", [{"carrier": "superlink"}, {"supernode_socket": "learning.sock"}])
def test_superlink_and_the_socket_for_its_node_belong_together(learning: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"a SuperNode needs a socket, such as /run/undertone/learning\.sock"):
        GatewaySettings.model_validate(
            {"site": "plant-a", "gateway": "gw-1", "broker": {"allow_anonymous": True}, "learning": learning}
        )


def test_agent_that_is_away_or_was_not_named_is_an_answer_with_a_reason_and_no_hanging_node(socket: Path) -> None:
    with pytest.raises(PeerGone, match=r"learning\.sock"):
        ask(socket, task())
    with pytest.raises(GatewayRefused, match="start it with --node-config"):
        ask(None, task())
