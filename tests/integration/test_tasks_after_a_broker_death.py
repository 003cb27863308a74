"""A broker that died and forgot its sessions: who comes back to it after the site is asked again at once."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from flwr.app import Message, RecordDict

from aggregator.carriers import mqtt
from aggregator.carriers.mqtt import MqttCarrier, Server
from schemas.learning_task import TRAIN
from tests.support.brokers import BrokerServer, embedded_broker, mosquitto_broker
from tests.support.learning import People, wait_until

PEOPLE = People([("site-a", "site"), ("gw-1", "gateway")])
PATIENCE_S = 60.0
Serve = Callable[[Sequence[str]], AbstractContextManager[BrokerServer]]


@pytest.mark.parametrize(
    "serve",
    [
        pytest.param(embedded_broker, id="embedded"),
        pytest.param(mosquitto_broker, id="mosquitto", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.timeout(300)
def test_task_sent_before_its_member_was_back_is_sent_again_once_it_says_that_it_is_there(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mqtt, "ASK_AGAIN_S", 3600.0)  # what is asked again by time alone is asked after the deadline
    replies: list[Message] = []
    with serve(["site-a", "gw-1"]) as broker, ExitStack() as stack:
        site = Server("site-a", "site", "gateway")
        carrier = MqttCarrier(broker.settings_for("site-a"), site, signer=PEOPLE["site-a"], keys=PEOPLE.keys)
        stack.callback(carrier.stop)
        carrier.start()
        member = subprocess.Popen([sys.executable, "-m", "tests.support.member_process", _told(broker, tmp_path)])
        stack.callback(member.wait)
        stack.callback(member.kill)
        assert carrier.wait_members(1, PATIENCE_S)
        member.send_signal(signal.SIGSTOP)
        broker.kill()
        assert wait_until(lambda: not carrier.connected, PATIENCE_S)
        broker.start()
        assert wait_until(lambda: carrier.connected, PATIENCE_S)
        (node,) = carrier.get_node_ids()  # it may still come
        task = carrier.create_message(RecordDict(), TRAIN, node, "1")
        asking = threading.Thread(
            target=lambda: replies.extend(carrier.send_and_receive([task], timeout=PATIENCE_S)), daemon=True
        )
        asking.start()
        assert wait_until(lambda: carrier.bytes_down > 0, PATIENCE_S)  # to nobody
        member.send_signal(signal.SIGCONT)
        asking.join(PATIENCE_S + 10.0)
    assert [reply.has_error() for reply in replies] == [False]


def _told(broker: BrokerServer, folder: Path) -> str:
    PEOPLE["gw-1"].save(folder / "signing.key")
    PEOPLE.keys.save(folder / "keys.toml")
    told = {
        "broker": broker.settings_for("gw-1").model_dump(mode="json"), "site": "site-a", "member": "gw-1",
        "signing_key": str(folder / "signing.key"), "keys": str(folder / "keys.toml"),
    }  # fmt: skip
    file = folder / "member.json"
    file.write_text(json.dumps(told))
    return str(file)
