"""A gateway agent and its site in real processes on a real broker, as their operator sees them and talks to them."""

import contextlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import aggregator.figures
import aggregator.meters
import gateway_agent.command
import gateway_agent.figures
import gateway_agent.meters
from gateway_agent.batch import AGAIN_REFUSED, DUPLICATES
from gateway_agent.dead_letters import find
from gateway_agent.store import read_only
from gateway_agent.store_tables import counter_table
from schemas.capture import encode_capture
from schemas.link import Link
from schemas.metrics import Figure
from schemas.topics import CAPTURE
from tests.support.brokers import BrokerServer, ServiceProcess, embedded_broker, free_port, linked
from tests.support.captures import healthy
from tests.support.faults.data_path import GATEWAY, SITE, USERS, DataPath, data_path, within
from tests.support.outside import Samples, Web, logged
from tests.support.plant import status

# What differs between two looks, a moment apart.
VOLATILE = {
    "memory_bytes",
    "disk_free_bytes",
    "outbox_oldest_seconds",
    "ingest_busy_seconds",
    "gateway_last_seen_seconds",
    "messages_total",  # a gateway tells its status all the time
}


GATEWAY_TELLS = {
    "queues": ("ingest_queue", "ingest_queue_limit", "outbox_pending", "records_under_way"),
    "lags": ("lag_seconds", "outbox_oldest_seconds"),
    "batch sizes": ("batch_captures",),
    "syncs": ("sync_seconds", "commit_seconds"),
    "dead letters": ("dead_letters_total",),
    "gaps": ("captures_missing", "given_up_total"),
    "inference": ("inference_seconds", "features_seconds"),
}
SITE_TELLS = {
    "queues": ("queue", "queue_limit"),
    "lags": ("lag_seconds", "gateway_last_seen_seconds"),
    "batch sizes": ("batch_messages", "batch_records"),
    "syncs": ("sync_seconds", "commit_seconds"),
    "dead letters": ("dead_letters_total",),
    "gaps": ("given_up_total",),
}
LABEL_VALUES_AT_MOST = 20  # of each label that is no bound of a histogram, on a plant of one gateway


@pytest.fixture
def broker() -> Iterator[BrokerServer]:
    with embedded_broker(USERS) as broker:
        yield broker


@pytest.fixture
def path(tmp_path: Path, broker: BrokerServer) -> Iterator[DataPath]:
    with data_path(tmp_path, broker) as path:
        yield path


def observe(settings: Path) -> Web:
    """Have a service show itself on a free port."""
    port = free_port()
    settings.write_text(settings.read_text() + f"\n[observe]\nport = {port}\n")
    return Web(port)


@contextlib.contextmanager
def agent(path: DataPath) -> Iterator[ServiceProcess]:
    with path.gateway() as process:
        process.wait_notice()
        yield process
        assert process.process.poll() is None, process.log.read_text()[-3000:]


def topic(machine: str = "pump-07") -> str:
    return CAPTURE.path(site=SITE, gateway=GATEWAY, machine=machine, position="de")


def publish(link: Link, machine: str, payload: bytes) -> None:
    within("the broker takes a payload", lambda: link.publish(topic(machine), payload))


def site_status(path: DataPath) -> dict[str, Any]:
    return status("aggregator", path.site_settings)


def gateway_status(path: DataPath) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(said("status", "--json", "--settings", str(path.settings())).out)
    return told


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def said(*words: str) -> Said:
    """Run a command of the gateway agent, here: a process for each would take most of the test's time."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = gateway_agent.command.main(list(words))
    return Said(code, out.getvalue(), err.getvalue())


def same_truth(figures: tuple[Figure, ...], prefix: str, metrics: Samples, told: dict[str, Any]) -> bool:
    """Whether every figure is the same in both."""
    for figure in figures:
        if figure.name not in VOLATILE:
            wanted = {(prefix + figure.name, labels): value for labels, value in figure.samples(told)}
            if wanted != {key: value for key, value in metrics.items() if key[0] == prefix + figure.name}:
                return False
    return True


def check_told(wanted: dict[str, tuple[str, ...]], prefix: str, web: Web) -> None:
    """Everything wanted is there, and no label has more values than the program has words."""
    told = set(re.findall(r"^# TYPE (\S+) ", web.get("/metrics")[1].decode(), re.MULTILINE))
    for what, names in wanted.items():
        assert {prefix + name for name in names} <= told, what
    values: dict[tuple[str, str], set[str]] = {}
    for name, labels in web.metrics():
        for label, value in labels:
            values.setdefault((name, label), set()).add(value)
    assert max(len(found) for (_, label), found in values.items() if label != "le") <= LABEL_VALUES_AT_MOST


def test_metrics_of_gateway_and_site_say_what_their_status_says(path: DataPath, broker: BrokerServer) -> None:
    gateway_web, site_web = observe(path.settings()), observe(path.site_settings)
    with path.running(), path.sensor(rate_a_s=100.0) as sensor, linked(broker.settings_for("gw-2"), "x") as (link, _):
        sensor.wait_acknowledged(12)  # from here on the gateway listens; poison is sent once
        for payload in (b"poison", b"UC\x09 of another version", b"poison"):
            publish(link, "pump-07", payload)
        sensor.wait_all_acknowledged()
        within("the poison is counted", lambda: sum(path.dead_letters().values()) == 3)
        path.wait_drained()

        figures, prefix = gateway_agent.figures.FIGURES, gateway_agent.meters.PREFIX
        within("gateway: both say the same",
               lambda: same_truth(figures, prefix, gateway_web.metrics(), gateway_status(path)))  # fmt: skip
        told = gateway_web.metrics()
        assert told[f"{prefix}captures_stored_total", ()] == sensor.measured
        assert sum(value for (name, _), value in told.items() if name == f"{prefix}dead_letters_total") == 3
        assert told[f"{prefix}points", (("state", "ready"),)] == 1
        assert told[f"{prefix}alarms", (("state", "normal"),)] == 1
        assert (
            told[f"{prefix}link_up", (("link", "captures"),)] == told[f"{prefix}link_up", (("link", "control"),)] == 1
        )
        assert told[f"{prefix}records_acknowledged_total", ()] >= sensor.measured
        assert told[f"{prefix}batch_captures_sum", ()] == sensor.measured
        for histogram in ("lag", "features", "inference", "commit", "sync"):
            assert told[f"{prefix}{histogram}_seconds_count", ()] > 0, histogram
            assert 0 < told[f"{prefix}{histogram}_seconds_sum", ()] < 60, histogram
        check_told(GATEWAY_TELLS, prefix, gateway_web)

        figures, prefix = aggregator.figures.FIGURES, aggregator.meters.PREFIX
        within("site: both say the same",
               lambda: same_truth(figures, prefix, site_web.metrics(), site_status(path)))  # fmt: skip
        told = site_web.metrics()
        assert told[f"{prefix}windows_stored_total", ()] == sensor.measured
        assert told[f"{prefix}gateway_online", (("gateway", GATEWAY),)] == 1
        assert 0 <= told[f"{prefix}gateway_last_seen_seconds", (("gateway", GATEWAY),)] < 10
        assert told[f"{prefix}commit_seconds_count", ()] == told[f"{prefix}batch_messages_count", ()] > 0
        for histogram in ("lag", "commit", "sync"):
            assert told[f"{prefix}{histogram}_seconds_count", ()] > 0, histogram
        check_told(SITE_TELLS, prefix, site_web)
        for web in (gateway_web, site_web):
            assert web.state("/healthz") == web.state("/readyz") == (200, {})


def test_a_broker_that_is_away_makes_both_unready_and_neither_unhealthy(path: DataPath, broker: BrokerServer) -> None:
    gateway_web, site_web = observe(path.settings()), observe(path.site_settings)
    with path.running():
        for web in (gateway_web, site_web):
            within("ready", lambda web=web: web.state("/readyz")[0] == 200)  # type: ignore[misc]
        broker.kill()
        within("the gateway says so", lambda: gateway_web.state("/readyz")[0] == 503)
        within("the site says so", lambda: site_web.state("/readyz")[0] == 503)
        within("each link is named", lambda: set(gateway_web.state("/readyz")[1]) == {
            "link_captures_down", "link_control_down"})  # fmt: skip
        assert str(broker.port) in site_web.state("/readyz")[1]["link_historian_down"]
        assert gateway_web.state("/healthz")[0] == site_web.state("/healthz")[0] == 200
        broker.start()
        within("the gateway is ready again", lambda: gateway_web.state("/readyz")[0] == 200)
        reconnects = f"{gateway_agent.meters.PREFIX}reconnects_total"
        within("reconnects are counted", lambda: gateway_web.metrics()[reconnects, (("link", "captures"),)] == 1)


def dead_letters(path: DataPath, *words: str) -> Said:
    return said("dead-letters", "--settings", str(path.settings()), *words)


def states(path: DataPath) -> dict[int, str]:
    with read_only(path.store()) as store:
        return {one.letter: one.state for one in find(store)}


def counted(path: DataPath, name: str) -> int:
    with read_only(path.store()) as store:
        return store.scalar(sa.select(counter_table.c.value).where(counter_table.c.name == name)) or 0


def letters(path: DataPath) -> dict[int, dict[str, Any]]:
    listed = dead_letters(path, "--json")
    return {one["id"]: one for one in map(json.loads, listed.out.splitlines())}


def test_what_was_refused_is_looked_at_taken_out_and_taken_in_again_while_the_agent_runs(
    path: DataPath, broker: BrokerServer
) -> None:
    foreign, stored = encode_capture(healthy(3)), encode_capture(healthy(4))
    with agent(path) as process, linked(broker.settings_for("sensors"), "sensors") as (link, _):
        within("captures are stored", lambda: publish(link, "pump-07", stored) or path.at_gateway())
        publish(link, "pump-08", foreign)
        publish(link, "pump-07", stored[:-9])
        within("both are refused", lambda: len(states(path)) == 2)
        listed = letters(path)
        assert [one["reason"] for one in listed.values()] == ["unknown_machine", "truncated"]
        machine, truncated = listed

        assert "pump-08" in dead_letters(path, "show", str(machine)).out
        out = path.folder / "out"
        assert dead_letters(path, "export", str(machine), str(truncated), "--out", str(out)).code == 0
        assert (out / f"letter-{machine:06d}.bin").read_bytes() == foreign
        assert json.loads((out / f"letter-{truncated:06d}.json").read_text())["size_bytes"] == len(stored) - 9

        assert dead_letters(path, "reinject", str(machine), str(truncated)).code == 0
        within("both are refused again", lambda: counted(path, AGAIN_REFUSED) == 2)
        assert set(states(path).values()) == {"refused"}

        path.settings().write_text(path.settings().read_text() + '[[machines]]\nmachine = "pump-08"\n')
        process.process.send_signal(signal.SIGHUP)
        within("the machine is known", lambda: logged(process.log, "settings_reloaded"))
        assert dead_letters(path, "reinject", "--reason", "unknown_machine").code == 0
        within("it is taken in", lambda: states(path)[machine] == "taken")
        assert ("pump-08/de", 1, 3) in path.at_gateway()
        assert states(path)[truncated] == "refused"

        again = dead_letters(path, "reinject", str(machine))
        assert (again.code, "taken in already" in again.err) == (2, True)
        publish(link, "pump-08", foreign)
        within("its own copy is a duplicate", lambda: counted(path, DUPLICATES) >= 1)
        told = gateway_status(path)
    assert told["captures"]["dead_letters"] == {"unknown_machine": 1, "truncated": 1}
    assert told["dead_letters_again"] == {"taken": 1, "refused": 2}


def change(settings: Path, *changes: tuple[str, str]) -> None:
    text = settings.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    settings.write_text(text)


def hang_up(process: ServiceProcess, name: str) -> dict[str, Any]:
    """Ask for a reload; the event that tells its outcome."""
    before = len(logged(process.log, name))
    process.process.send_signal(signal.SIGHUP)
    events: list[dict[str, Any]] = within(name, lambda: logged(process.log, name)[before:])
    return events[0]


def test_a_gateway_takes_over_what_it_can_and_names_every_setting_that_needs_a_restart(path: DataPath) -> None:
    web = observe(path.settings())
    with agent(path) as process:
        assert web.state("/healthz")[0] == 200
        later = free_port()
        change(
            path.settings(),
            (f"[observe]\nport = {web.port}", f"[observe]\nport = {later}"),
            ("keepalive_s = 5", "keepalive_s = 7"),
            ("captures = 8", "captures = 9\n[alarm]\non_count = 3"),
        )
        told = hang_up(process, "settings_reloaded")
        assert told["changed"] == ["alarm.on_count", "observe.port"]
        assert told["at_restart"] == ["broker.keepalive_s", "commissioning.captures"]
        named = {one["setting"]: one["text"] for one in logged(process.log, "setting_needs_restart")}
        assert set(named) == {"broker.keepalive_s", "commissioning.captures"}
        assert all("restarted" in text for text in named.values())
        process.wait_notice("RELOADING=1")
        process.wait_notice("READY=1")
        assert not web.answers()
        assert Web(later).answers()

        good = path.settings().read_text()
        for broken, word in (
            ("on_count = 3", "on_count = 99"),
            ('machine = "pump-07"', 'machine = "pump-07"\nbearing = {name = "none"}'),
            ("[alarm]", "[alarm\n"),
        ):  # fmt: skip
            path.settings().write_text(good)
            change(path.settings(), (broken, word), ("status_interval_s = 0.5", "status_interval_s = 0.7"))
            assert "nothing has changed" in hang_up(process, "settings_not_reloaded")["text"]
        path.settings().write_text(good)
        assert hang_up(process, "settings_reloaded")["changed"] == []


def test_a_site_takes_over_what_it_can_and_names_every_setting_that_needs_a_restart(path: DataPath) -> None:
    with path.site() as process:
        process.wait_notice()
        change(
            path.site_settings,
            (
                "[learning]\n",
                "[historian]\nbatch_messages = 8\nqueue_messages = 9\n[learning]\nround_interval_s = 5.0\n",
            ),
            ('name = "plant-a"\nfolder', 'log_level = "WARNING"\noffline_after_s = 30.0\nname = "plant-a"\nfolder'),
        )
        path.site_settings.write_text(
            path.site_settings.read_text() + '[[machines]]\nmachine = "pump-07"\ntitle = "Cooling water"\n'
        )
        process.process.send_signal(signal.SIGHUP)
        named = within("it names them", lambda: {
            one["setting"] for one in logged(process.log, "setting_needs_restart")})  # fmt: skip
        within("the title is in the database", lambda: title(path) == "Cooling water")
        assert named == {"historian.queue_messages", "offline_after_s"}
        path.site_settings.write_text("name = 7")
        assert "nothing has changed" in hang_up(process, "settings_not_reloaded")["text"]
        assert process.process.poll() is None


def title(path: DataPath) -> str:
    rows = path.site_rows("SELECT title FROM machine WHERE machine = 'pump-07'")
    return str(rows[0][0]) if rows else ""


def test_a_port_that_is_taken_costs_the_figures_and_no_capture(path: DataPath, broker: BrokerServer) -> None:
    web = observe(path.settings())
    with contextlib.ExitStack() as stack:
        stack.enter_context(Holding(web.port))
        process = stack.enter_context(agent(path))
        link, _ = stack.enter_context(linked(broker.settings_for("sensors"), "sensors"))
        within("captures are stored", lambda: publish(link, "pump-07", encode_capture(healthy(0))) or path.at_gateway())
        assert "observe.port" in logged(process.log, "observe_cannot_listen")[0]["text"]


@pytest.mark.parametrize("program", ["gateway_agent", "aggregator"])
def test_a_missing_token_ends_the_start_with_one_clear_line(program: str, path: DataPath) -> None:
    settings = path.settings() if program == "gateway_agent" else path.site_settings
    web = observe(settings)
    settings.write_text(settings.read_text() + 'token_file = "observe.token"\n')
    done = subprocess.run(
        [sys.executable, "-m", program, "run", "--settings", str(settings)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert "observe.token" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not web.answers()


class Holding(contextlib.AbstractContextManager[None]):
    """A port that somebody else listens on."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))

    def __exit__(self, *_: object) -> None:
        self._listener.close()
