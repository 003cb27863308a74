"""This file knows in which order the plant comes up, what is watched while it runs, and how it goes down."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from aggregator.broker_files import ServedBy
from dashboard.pages.addresses import machine_address
from deploy.demo.checks import Checks, Sight, alarms_of
from deploy.demo.errors import Interrupted, StageFailed
from deploy.demo.joining import enrol_everybody
from deploy.demo.messages import Message, read_messages
from deploy.demo.names import PHONE, AggregatorPlace, DemoPlant, GatewayPlace
from deploy.demo.people import OTHERS, introduce, knows_channels
from deploy.demo.plan import Plan
from deploy.demo.ports import HOST, is_free
from deploy.demo.processes import Processes, Running, wait_until
from deploy.demo.secret_files import ADMIN, Secrets
from deploy.demo.story import Story
from deploy.demo.watch import look_at_enterprise, look_at_site, page_answers
from schemas.settings import read_secret
from schemas.supervision import Asked

COME_UP_WITHIN_S = 60.0
CHECK_WITHIN_S = 165.0  # from the moment that sensors measure
SETTLE_S = 5.0  # after everything holds: time for an alarm that nobody ordered
LOOK_S = 1.0
LIVE_EVERY_S = 4.0
TICK_S = 0.2


class Conductor:
    """Brings one plant up, watches it, and takes it down."""

    def __init__(self, plan: Plan, by: ServedBy, story: Story, stop: Asked) -> None:
        self._plan = plan
        self._plant = plan.plant
        self._story = story
        self._stop = stop
        self._by = by
        self._sensors_began_s = 0.0
        self.secrets = Secrets.kept_in(self._plant.folder)
        self.processes = Processes(self._plant.folder / "logs")

    def bring_up(self) -> None:
        """Start everything in order; each stage waits until the last one is ready.

        Raises:
            StageFailed: Something did not come up.
            Interrupted: Somebody asked us to stop.
        """
        story, plant = self._story, self._plant
        how = "mosquitto, a certificate and an access list each" if self._by == "mosquitto" else (
            "the embedded broker, loopback only, a password each"
        )  # fmt: skip
        story.say(f"Broker: {how}. Files and logs: {plant.folder}")
        self._plan.write_settings(self._by)
        enrolled = enrol_everybody(plant)
        story.stage(f"{enrolled} enrolled, by `aggregator enroll`" if enrolled else "everybody is enrolled already")
        self._start_messages()
        self._start_brokers()
        self._start_aggregators()
        self._start_gateways_and_screens()
        for sensors in self._plan.sensors:
            self.processes.start(sensors.gateway.sensors, "sensors", "sensor_sim", *sensors.arguments)
        self._sensors_began_s = story.elapsed_s
        machines = sum(len(one.gateway.machines) for one in self._plan.sensors)
        story.stage(f"sensors of {machines} machines measure")
        for words in plant.expected.words:
            story.say(words)
        self._say_where()

    def _say_where(self) -> None:
        """Say in few lines where to look, as whom to come in, and what else there is to try."""
        say, plant, others = self._story.say, self._plant, [f"{name} ({role})" for name, role in OTHERS.items()]
        page = screen_address(plant.sites[0])
        say(f"Look at:   {'   '.join(f'{screen_address(site)} (site {site.name})' for site in plant.sites)}")
        say(f"Sign in:   {ADMIN}, password {self.secrets.password}   ({ADMIN} may do everything)")
        say(f"           or, with the same password: {', '.join(others)}")
        above = plant.enterprise
        word = read_secret(above.dashboard_folder / "access.token")
        say(f"All sites: {screen_address(above)}?token={word}   (what the enterprise knows of them)")
        token = _short(self.secrets.token_file)
        say(f"Messages:  {messages_address(plant)}   (what the plant tells a phone and a maintenance system)")
        say(f'Programs:  curl -H "Authorization: Bearer $(cat {token})" {page}api/v1/machines')
        say(f"           all of it: {page}api/v1/docs")

    def look(self) -> Sight:
        """See how everything is."""
        return Sight(
            {site.name: look_at_site(site) for site in self._plant.sites},
            look_at_enterprise(self._plant.enterprise),
            {site.name: _answers(site) for site in self._plant.sites},
            [(one.site, f"{one.title} {one.text}") for one in self._messages() if one.channel == PHONE],
        )

    def watch(self) -> None:
        """Tell how the plant is until somebody stops us."""
        told: set[tuple[str, str]] = set()
        releases = messages = 0
        since_live_s = 0.0
        while True:
            self.processes.require_alive()
            sight = self.look()
            for site, machine in sorted(alarms_of(sight) - told):
                told.add((site, machine))
                words = sight.sites[site].cases.get(machine, "")
                self._story.happened(f"ALARM at site {site}: {machine}. {words}".rstrip())
                self._story.say(f"Why:       {self._machine_page(site, machine)}")
            for one in self._messages(after=messages):
                self._story.happened(f"MESSAGE to {one.channel} of site {one.site}: {one.title}")
                messages = one.number
            merged = max(sight.enterprise.releases, default=0)
            if merged > releases:
                who = " and ".join(sorted(sight.enterprise.releases[merged]))
                self._story.happened(f"the enterprise has merged what {who} learnt: release {merged}")
                releases = merged
            if self._story.elapsed_s - since_live_s >= LIVE_EVERY_S:
                since_live_s = self._story.elapsed_s
                self._story.live(_in_words(sight))
            self._pause(LOOK_S)

    def _machine_page(self, site: str, machine: str) -> str:
        place = next(one for one in self._plant.sites if one.name == site)
        return screen_address(place) + machine_address(machine)

    def check(self) -> None:
        """Wait until every promise holds, and see that nothing else happened.

        Raises:
            StageFailed: A promise does not hold in time, or an alarm came that nobody ordered.
        """
        checks = Checks(self._plant)
        settled_at_s: float | None = None
        while settled_at_s is None or self._story.elapsed_s < settled_at_s:
            self.processes.require_alive()
            sight = self.look()
            judged = checks.judge(sight)
            for words in checks.newly_held(judged):
                self._story.stage(f"ok: {words}")
            wrong = checks.false_alarms(sight)
            if wrong:
                raise StageFailed(f"alarm without a fault: {', '.join(f'{m} at {s}' for s, m in sorted(wrong))}")
            if settled_at_s is None and all(judged.values()):
                settled_at_s = self._story.elapsed_s + SETTLE_S
            if settled_at_s is None and self._story.elapsed_s - self._sensors_began_s > CHECK_WITHIN_S:
                missing = "; ".join(words for words, holds in judged.items() if not holds)
                raise StageFailed(f"not within {CHECK_WITHIN_S:.0f} s: {missing}. {_in_words(sight)}")
            self._pause(LOOK_S)
        self._story.stage("ok: no other machine has an alarm")
        self._ask_gateways(sight)

    def wait_for_alarm(self) -> tuple[AggregatorPlace, str]:
        """Wait for the first alarm that was ordered; return where it is.

        Raises:
            StageFailed: It did not come.
        """
        site, machine = min(self._plant.expected.failing)
        place = next(one for one in self._plant.sites if one.name == site)
        within_s = self._plant.expected.begins_s + CHECK_WITHIN_S
        self._wait(f"alarm of {machine}", lambda: machine in look_at_site(place).alarmed, within_s=within_s)
        self._story.stage(f"alarm of {machine}")
        return place, machine

    def take_down(self) -> None:
        """Stop everything in order, and see that nothing is left.

        Raises:
            StageFailed: Something had to be killed, or is left.
        """
        count = len(self.processes.running)
        killed = self.processes.stop()
        left = self.processes.left_behind()
        if killed or left:
            raise StageFailed(f"had to be killed: {killed or 'none'}; left behind: {left or 'none'}")
        self._story.stage(f"{count} processes stopped, none is left")

    def _messages(self, *, after: int = 0) -> list[Message]:
        messages = self._plant.messages
        return read_messages(messages.port, messages.word, after=after)

    def _start_messages(self) -> None:
        place = self._plant.messages
        files = ("--word-file", str(place.word_file), "--secret-file", str(place.secret_file))
        module = "deploy.demo.messages"
        started = self.processes.start("messages", "messages", module, "--port", str(place.port), *files)
        self._wait_ready("messages", [started])

    def _start_brokers(self) -> None:
        started = []
        for place in self._plant.aggregators:
            if not is_free(place.broker_port):
                raise StageFailed(f"port {place.broker_port} has been taken meanwhile; start again")
            started.append(self._aggregator(place, "broker"))
        self._wait_ready("brokers", started)
        ports = ", ".join(f"{place.name} {HOST}:{place.broker_port}" for place in self._plant.aggregators)
        self._story.stage(f"brokers serve: {ports}")

    def _start_aggregators(self) -> None:
        self._wait_ready("aggregators", [self._aggregator(place, "run") for place in self._plant.aggregators])
        self._story.stage(f"aggregators run: {', '.join(f'{p.role} {p.name}' for p in self._plant.aggregators)}")

    def _introduce_people(self) -> None:
        """Before any screen is there: nobody but us can become the first administrator."""
        sites = self._plant.sites
        self._wait("channels", lambda: all(knows_channels(site) for site in sites))
        new = [site.name for site in sites if introduce(site, self.secrets)]
        words = f"{1 + len(OTHERS)} people are made at {' and '.join(new)}, as by hand" if new else "people are known"
        self._story.stage(words)

    def _start_gateways_and_screens(self) -> None:
        started = [
            self.processes.start(one.name, "gateway", "gateway_agent", "run", "--settings", _settings_of(one))
            for one in self._plant.gateways
        ]
        self._introduce_people()
        for place in self._plant.aggregators:
            file = str(place.dashboard_folder / "dashboard.toml")
            self.processes.start(f"{place.name}-dashboard", "dashboard", "dashboard", "run", "--settings", file)
        self._wait_ready("gateways", started)
        self._wait("gateways online", self._all_online)
        self._story.stage(f"gateways are online: {', '.join(one.name for one in self._plant.gateways)}")
        self._wait("screens", lambda: all(_answers(place) for place in self._plant.aggregators))
        self._story.stage("screens answer")

    def _aggregator(self, place: AggregatorPlace, command: str) -> Running:
        kind = "broker" if command == "broker" else "aggregator"
        return self.processes.start(
            f"{place.name}-{kind}", kind, "aggregator", command, "--settings", str(place.settings_file)
        )

    def _all_online(self) -> bool:
        return all(
            {name for name, seen in look_at_site(site).gateways.items() if seen.online}
            >= {one.name for one in self._plant.gateways_of(site.name)}
            for site in self._plant.sites
        )

    def _ask_gateways(self, sight: Sight) -> None:
        """Hear from the gateways themselves which release they run."""
        asked = [
            (one, subprocess.Popen(
                [sys.executable, "-m", "gateway_agent", "status", "--json", "--settings", _settings_of(one)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            ))
            for one in self._plant.gateways
        ]  # fmt: skip
        said = []
        for gateway, process in asked:
            answer, _ = process.communicate(timeout=COME_UP_WITHIN_S)
            version = json.loads(answer)["release"]["version"] if process.returncode == 0 else -1
            first = min(sight.sites[gateway.site].fleet.values())
            if version < first:
                raise StageFailed(f"gateway {gateway.name} itself says it runs release {version}, {first} expected")
            said.append(f"{gateway.name} {version}")
        self._story.stage(f"ok: by their own word the gateways run releases {', '.join(said)}")

    def _wait_ready(self, what: str, started: list[Running]) -> None:
        self._wait(what, lambda: all(one.ready for one in started))

    def _wait(self, what: str, holds: Callable[[], bool], *, within_s: float = COME_UP_WITHIN_S) -> None:
        wait_until(what, holds, within_s=within_s, processes=self.processes, tick=lambda: self._pause(TICK_S))

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted


def screen_address(site: AggregatorPlace) -> str:
    """Where a site's screen is."""
    return f"http://{HOST}:{site.dashboard_port}/"


def messages_address(plant: DemoPlant) -> str:
    """Where it is seen what the plant has told."""
    return f"http://{HOST}:{plant.messages.port}/{plant.messages.word}/"


def _short(path: Path) -> Path:
    """As a person standing here would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _answers(site: AggregatorPlace) -> bool:
    return site.dashboard_port is not None and page_answers(HOST, site.dashboard_port)


def _settings_of(gateway: GatewayPlace) -> str:
    return str(Path(gateway.folder) / "gateway.toml")


def _in_words(sight: Sight) -> str:
    parts = []
    for name, seen in sight.sites.items():
        sound = "all sound" if seen.ready_points else "nothing judged yet"
        cases = f"{len(seen.cases)} case{'s' if len(seen.cases) != 1 else ''}" if seen.cases else sound
        ready = f"{seen.ready_points} of {seen.points} points have learnt what is healthy"
        learnt = "" if seen.ready_points == seen.points else f", {ready}"
        parts.append(f"{name}: {seen.captures} captures, {cases}{learnt}, release {seen.current}")
    merged = len(sight.enterprise.releases)
    return " | ".join([*parts, f"{merged} merge{'s' if merged != 1 else ''} of sites"])
