"""This file knows how a release gets onto the gateways of a site, stage by stage: tried, offered, watched, taken back.

What to do next is decided in `aggregator.rollout_plan`; here it is done. What a gateway runs and has found is what
its own status says, nothing else.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator.database import may_pass, writing
from aggregator.registry import Registry, Standing
from aggregator.rollout_plan import Pace, Progress, Seen, Step, in_order, is_due_anew, next_step, takers_of
from aggregator.settings import RolloutSettings
from schemas.errors import RejectedInput, SignatureRejected
from schemas.link import Link, Received
from schemas.logs import event
from schemas.member_link import send_in_fragments
from schemas.messages import GateReport, GatewayStatus, ShadowSummary, decode
from schemas.release import Release
from schemas.settings import BrokerSettings
from schemas.signing import KeyRing, Signer
from schemas.site_tables import machine_fit as fit_table
from schemas.site_tables import rollout as rollout_table
from schemas.topics import CANDIDATE, RELEASE, STATUS, Topic

log = logging.getLogger(__name__)

REPEAT_S = 30.0  # three statuses at their usual rate: by then a gateway that took a release has said so
PATIENCE_S = 5.0
REPORT_S = 5.0  # how often is written down, where people look, what gateways have found and a release waits for
LOOK_S = 1.0  # how often a release under way is looked at, and what people have asked of it
DAY_S = 86_400.0
LOOP_S = 900.0  # starts of an agent that lie closer together are a loop, and not people at work
MOST_STARTS_KEPT = 16  # of one gateway's agent

# Why a gateway refuses what another may take: a full disk, older software, a list of keys, a clock, a person's command.
ITS_OWN_AFFAIR = frozenset(
    {"disk", "other_features", "unknown_signer", "older_version", "expired", "rolled_back", "unknown_version"}
)
_REFUSED = re.compile(r"^release (\d+) refused \((\w+)\)")

State = Literal["trying", "offered", "running", "refused", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one gateway: what to write down (None: nothing), and whether to offer now."""

    state: State | None
    offer: bool
    text: str = ""


def decide(
    release_version: int, digest: str, status: GatewayStatus, *, offered_at_s: float | None, now_s: float
) -> Decision:
    """Decide from what a gateway says.

    Args:
        release_version: Of the release that is to run.
        digest: Of the release that is to run.
        status: What the gateway said last.
        offered_at_s: When it was offered last; None if never.
        now_s: Now, on the same clock.
    """
    if status.release_digest == digest:
        return Decision("running", offer=False)
    if status.release_problem.startswith(f"release {release_version} refused"):
        return Decision("refused", offer=False, text=status.release_problem)
    if status.release_version > release_version:
        text = f"runs release {status.release_version}, newer than any of this site; the next release goes above it"
        return Decision("refused", offer=False, text=text)
    if not status.online:
        return Decision(None, offer=False)
    due = offered_at_s is None or now_s - offered_at_s >= REPEAT_S
    return Decision("offered" if due else None, offer=due)


def decide_trial(
    release_version: int, status: GatewayStatus, *, offered_at_s: float | None, now_s: float
) -> Decision:  # fmt: skip
    """Decide whether a gateway is to be sent a candidate to try; arguments as in `decide`."""
    if _refusal(release_version, status):
        return Decision("refused", offer=False, text=status.release_problem)
    tried = status.gate is not None and status.gate.version == release_version
    if tried and status.shadow is not None and status.shadow.this_version == release_version:
        return Decision("trying", offer=False)
    if not status.online or status.release_version >= release_version:
        return Decision(None, offer=False)
    return Decision(None, offer=offered_at_s is None or now_s - offered_at_s >= REPEAT_S)


def seen_of(status: GatewayStatus, release_version: int, digest: str, *, starts: int) -> Seen:
    """What a status says about one release."""
    reason = _refusal(release_version, status)
    own = reason in ITS_OWN_AFFAIR
    return Seen(
        status.online, status.release_version, status.release_digest == digest,
        refused=status.release_problem if reason and not own else "",
        excused=status.release_problem if own else "", starts=starts, gate=status.gate, shadow=status.shadow,
    )  # fmt: skip


def _refusal(release_version: int, status: GatewayStatus) -> str:
    """The reason for which a gateway refuses a release; empty when it does not."""
    found = _REFUSED.match(status.release_problem)
    return found[2] if found is not None and int(found[1]) == release_version else ""


def pace_of(settings: RolloutSettings) -> Pace:
    """How fast a release may go, by the settings."""
    return Pace(
        settings.canaries, settings.shadow_s, settings.shadow_windows, settings.canary_s, settings.shares,
        settings.share_s, settings.answer_s, settings.most_auroc_loss, settings.most_loss_rise,
    )  # fmt: skip


class Rollout:
    """Brings releases to the gateways of a site, on a connection and in a thread of its own.

    Attributes:
        fault: What ended the thread, if anything did.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        site: str,
        registry: Registry,
        engine: Engine,
        *,
        signer: Signer,
        keys: KeyRing,
        clock_us: Callable[[], int],
        settings: RolloutSettings,
    ) -> None:
        self._site = site
        self._registry = registry
        self._engine = engine
        self._signer = signer
        self._keys = keys
        self._clock_us = clock_us
        self._settings = settings
        self._set_registry(settings)
        self._changed = threading.Condition()
        self._stale = True
        self._statuses: dict[str, GatewayStatus] = {}
        self._starts: dict[str, dict[int, int]] = {}
        self._offered_at_s: dict[tuple[str, int, str], float] = {}
        self._written: dict[tuple[int, str], tuple[State, str]] = {}
        self._reports: dict[tuple[int, str, str], dict[str, Any]] = {}
        self._fits: dict[tuple[str, str], int] = {}
        self._bundles: dict[int, Release] = {}
        self._networks: dict[int, bool] = {}
        self._items = 0
        self._reported_at_s = self._noted_at_s = -REPORT_S
        self._away = False
        self._stopping = threading.Event()
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="rollout", daemon=True)
        self._link = Link(
            broker,
            f"{site}-rollout",
            subscriptions=[(STATUS.filter(site=site), STATUS.qos)],
            on_message=self._receive,
            on_connected=self.wake,
            persistent=False,  # so that retained statuses come again after a restart
        )

    def start(self) -> None:
        """Connect and offer in the background."""
        self._link.start()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and disconnect."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S + 5.0)
        self._link.stop()

    def use_settings(self, settings: RolloutSettings) -> None:
        """Go at another pace from the next look on; `staged` and `valid_days` count from the next release on."""
        self._settings = settings
        self._set_registry(settings)

    def _set_registry(self, settings: RolloutSettings) -> None:
        self._registry.staged, self._registry.valid_s = settings.staged, settings.valid_days * DAY_S

    def wake(self) -> None:
        """Look again now: there is a new release, or something has changed."""
        with self._changed:
            self._stale = True
            self._changed.notify_all()

    @property
    def highest_version(self) -> int:
        """The highest version any gateway says it runs."""
        with self._changed:
            return max((status.release_version for status in self._statuses.values()), default=0)

    def running_another(self, graph: str) -> set[str]:
        """Gateways that say they run a release of ours with another training graph than this one."""
        with self._changed:
            running = {name: status.release_digest for name, status in self._statuses.items()}
        graphs = self._registry.graphs_of(set(running.values()))
        return {name for name, digest in running.items() if graphs.get(digest, graph) != graph}

    def wait_running(self, gateways: int, timeout_s: float) -> bool:
        """Wait until the current release runs on so many gateways; tell whether it came to that."""
        digest = self._registry.current().digest

        def running() -> bool:
            return sum(status.release_digest == digest for status in self._statuses.values()) >= gateways

        with self._changed:
            return self._changed.wait_for(running, timeout_s)

    def _receive(self, received: Received) -> None:
        names = STATUS.match(received.topic)
        if names is None or not received.payload:
            return
        try:
            body = self._keys.open(received.topic, received.payload, role="gateway", name=names["gateway"])
            status = decode(GatewayStatus, body)
        except (RejectedInput, SignatureRejected) as error:
            event(log, logging.WARNING, "status_refused", topic=received.topic, reason=error.reason)
            return
        if status.gateway != names["gateway"]:
            event(log, logging.WARNING, "status_refused", topic=received.topic, reason="wrong_sender")
            return
        with self._changed:
            self._statuses[status.gateway] = status
            if status.started_at_us is not None:
                starts = self._starts.setdefault(status.gateway, {})
                starts.setdefault(status.started_at_us, self._clock_us())
                while len(starts) > MOST_STARTS_KEPT:
                    del starts[next(iter(starts))]
            self._stale = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                with self._changed:
                    self._changed.wait_for(lambda: self._stale or self._stopping.is_set(), LOOK_S)
                    self._stale = False
                    statuses = dict(self._statuses)
                if not self._stopping.is_set():
                    self._look_if_possible(statuses)
        except Exception as error:
            self.fault = error
            log.exception("rollout_failed")

    def _look_if_possible(self, statuses: Mapping[str, GatewayStatus]) -> None:
        """A database that is away comes back: nothing is decided meanwhile, and gateways keep what they run."""
        try:
            self._look(statuses)
            self._away = False
        except sa.exc.OperationalError as error:
            if not may_pass(error):
                raise
            if not self._away:
                event(log, logging.WARNING, "database_away", problem=str(error.__cause__ or error))
            self._away = True

    def _look(self, statuses: Mapping[str, GatewayStatus]) -> None:
        if time.monotonic() - self._reported_at_s >= REPORT_S:
            self._reported_at_s = time.monotonic()
            self._write_reports(statuses)
        standings = self._registry.standings()
        current = next((one for one in reversed(standings) if one.state == "current"), None)
        if current is not None and self._renew(current, others_on_their_way=len(standings) > 1):
            self.wake()
            return
        candidate = self._under_way(standings, statuses)
        for one in (candidate, current):
            if one is not None and self._go_on(one, statuses):
                self.wake()  # the registry has changed under us
                return
        if current is not None:
            self._serve(current, candidate, statuses)

    def _renew(self, current: Standing, *, others_on_their_way: bool) -> bool:
        """Send what is in use out anew where its time comes to an end; tell whether that was so."""
        made, until, now_us = current.made_at_us, current.expires_at_us, self._clock_us()
        if not is_due_anew(made, until, now_us, others_on_their_way=others_on_their_way):
            return False
        renewed = self._registry.renew(current.version, above_version=self.highest_version)
        if renewed is not None:
            event(log, logging.INFO, "release_renewed", version=renewed.version, of=current.version)
        return True

    def _under_way(
        self, standings: list[Standing], statuses: Mapping[str, GatewayStatus]
    ) -> Standing | None:  # fmt: skip
        """The candidate on its way; when there is none, the newest sets out."""
        candidates = [one for one in standings if one.state == "candidate"]
        on_its_way = next((one for one in candidates if one.stage is not None), None)
        if on_its_way is not None or not candidates or not statuses:
            return on_its_way
        newest = candidates[-1].version
        digest = self._release(newest).digest
        order = in_order((), {name: seen_of(said, newest, digest, starts=0) for name, said in statuses.items()})
        self._registry.set_out(newest, order)
        event(log, logging.INFO, "rollout_set_out", version=newest, gateways=len(order), first=list(order[:1]))
        return next((one for one in self._registry.standings() if one.version == newest), None)

    def _go_on(self, one: Standing, statuses: Mapping[str, GatewayStatus]) -> bool:
        """Decide on a release and do it; tell whether its stage has changed."""
        if one.stage is None:
            return False
        digest = self._release(one.version).digest
        gateways = {
            name: seen_of(said, one.version, digest, starts=self._starts_since(name, one.since_us))
            for name, said in statuses.items()
        }
        progress = Progress(
            one.version, one.stage, one.share, (self._clock_us() - one.since_us) / 1e6,
            in_order(one.order, gateways), one.paused, (one.asked or {}).get("action") == "promote_release",
            self._brings_network(one.version),
        )  # fmt: skip
        if (one.asked or {}).get("action") == "roll_back_release":
            assert one.asked is not None
            why = f"taken back by {one.asked['actor']}: {one.asked['note']}"
            step, actor = Step("withdraw", "withdrawn", 0.0, why), one.asked["actor"]
        elif one.brings_back:
            return False
        else:
            step = next_step(progress, gateways, pace_of(self._settings))
            promoted = progress.promoted and step.kind == "advance" and one.asked is not None
            actor = one.asked["actor"] if promoted and one.asked is not None else "rollout"
        if step.kind != "hold":
            self._write_reports(statuses)
        if step.kind == "withdraw":
            return self._withdraw(one, step, actor)
        if step.kind == "advance":
            self._registry.enter(one.version, step.stage, step.share, step.text, step.evidence, actor=actor)
            event(log, logging.INFO, "rollout_advanced", version=one.version, stage=step.stage, share=step.share,
                  text=step.text)  # fmt: skip
            return True
        if one.state == "candidate":
            self._note(one.version, step)
        return False

    def _brings_network(self, version: int) -> bool:
        if version not in self._networks:
            self._networks = {kept: says for kept, says in self._networks.items() if kept >= version - 2}
            self._networks[version] = self._registry.brings_network(version)
        return self._networks[version]

    def _withdraw(self, one: Standing, step: Step, actor: str) -> bool:
        back = self._registry.withdraw(
            one.version, step.text, step.evidence, actor=actor, above_version=self.highest_version
        )
        if back is None and one.state == "current":
            if one.asked is not None:
                self._registry.answered(one.version)
            self._note(one.version, Step("hold", "everywhere", 0.0, f"nothing to go back to; {step.text}"))
            return False
        event(log, logging.ERROR, "release_withdrawn", version=one.version, text=step.text,
              back=None if back is None else back.version)  # fmt: skip
        return True

    def _note(self, version: int, step: Step) -> None:
        if time.monotonic() - self._noted_at_s >= REPORT_S:
            self._noted_at_s = time.monotonic()
            self._registry.note(version, step.text, step.evidence)

    def _starts_since(self, gateway: str, since_us: int) -> int:
        since_us = max(since_us, self._clock_us() - int(LOOP_S * 1e6))
        with self._changed:
            return sum(at_us >= since_us for at_us in self._starts.get(gateway, {}).values())

    def _serve(
        self, current: Standing, candidate: Standing | None, statuses: Mapping[str, GatewayStatus]
    ) -> None:  # fmt: skip
        ahead: tuple[str, ...] = ()
        if candidate is not None and candidate.stage is not None:
            order = (*candidate.order, *sorted(set(statuses) - set(candidate.order)))
            ahead = takers_of(order, candidate.stage, candidate.share, pace_of(self._settings))
        for gateway, status in sorted(statuses.items()):
            now_s = time.monotonic()
            wanted = self._release(candidate.version if candidate and gateway in ahead else current.version)
            runs_it_already = candidate is not None and status.release_version == candidate.version
            if gateway in ahead or not runs_it_already:
                offered = self._offered_at_s.get((gateway, wanted.version, RELEASE.name))
                decision = decide(wanted.version, wanted.digest, status, offered_at_s=offered, now_s=now_s)
                self._do(gateway, wanted, decision, RELEASE)
            if candidate is not None and gateway not in ahead and candidate.stage == "shadow":
                offered = self._offered_at_s.get((gateway, candidate.version, CANDIDATE.name))
                trial = decide_trial(candidate.version, status, offered_at_s=offered, now_s=now_s)
                self._do(gateway, self._release(candidate.version), trial, CANDIDATE)

    def _do(self, gateway: str, release: Release, decision: Decision, topic: Topic) -> None:
        if decision.state is not None:
            self._write(gateway, release.version, decision.state, decision.text)
        if decision.offer:
            self._offer(gateway, release, topic)

    def _release(self, version: int) -> Release:
        if version not in self._bundles:
            found = self._registry.release(version)
            assert found is not None, "a release that stands in the registry has its row"
            self._bundles = {
                kept: one for kept, one in self._bundles.items() if kept >= version - 2 or len(self._bundles) < 3
            } | {version: found}
        return self._bundles[version]

    def _offer(self, gateway: str, release: Release, topic: Topic) -> None:
        self._items += 1
        sent_bytes = send_in_fragments(
            self._link, self._signer, topic.path(site=self._site, gateway=gateway), release.bundle(),
            stream=release.version, item=self._clock_us() + self._items, give_up=self._stopping, patience_s=PATIENCE_S,
        )  # fmt: skip
        if sent_bytes:
            self._offered_at_s = {
                key: at_s for key, at_s in self._offered_at_s.items() if key[1] >= release.version - 1
            } | {(gateway, release.version, topic.name): time.monotonic()}
            event(log, logging.INFO, f"{topic.name}_offered", gateway=gateway, version=release.version,
                  bytes=sent_bytes)  # fmt: skip

    def _write(self, gateway: str, version: int, state: State, text: str) -> None:
        if self._written.get((version, gateway)) == (state, text):
            return
        write_rollout(self._engine, version, gateway, state, text, self._clock_us())
        self._written = {key: said for key, said in self._written.items() if key[0] >= version - 2}
        self._written[version, gateway] = (state, text)
        level = logging.ERROR if state == "refused" else logging.INFO
        event(log, level, f"release_{state}", gateway=gateway, version=version, text=text)

    def _write_reports(self, statuses: Mapping[str, GatewayStatus]) -> None:
        """What gateways have found, where people can see it: of releases, and of machines."""
        found: dict[tuple[int, str, str], dict[str, Any]] = {}
        for gateway, status in statuses.items():
            for version, column, said in _reports_of(status):
                found[version, gateway, column] = said.model_dump(mode="json")
        changed = {key: report for key, report in found.items() if self._reports.get(key) != report}
        fits = {
            (fit.machine, gateway): fit
            for gateway, status in statuses.items()
            for fit in status.fits
            if self._fits.get((fit.machine, gateway)) != fit.at_us
        }
        if not changed and not fits:
            return
        with writing(self._engine) as connection:
            for (version, gateway, column), report in changed.items():
                _set_rollout(connection, version, gateway, {column: report}, state="trying", at_us=self._clock_us())
            for (machine, gateway), fit in fits.items():
                row = {"machine": machine, "gateway": gateway, **fit.model_dump(exclude={"machine"})}
                mine = (fit_table.c.machine == machine) & (fit_table.c.gateway == gateway)
                connection.execute(sa.delete(fit_table).where(mine))
                connection.execute(sa.insert(fit_table).values(row))
        self._reports = found
        self._fits |= {key: fit.at_us for key, fit in fits.items()}


def _reports_of(status: GatewayStatus) -> list[tuple[int, str, GateReport | ShadowSummary]]:
    """Version, column of `rollout`, and what stands there."""
    found: list[tuple[int, str, GateReport | ShadowSummary]] = []
    if status.gate is not None:
        found.append((status.gate.version, "gate", status.gate))
    if (one := status.shadow) is not None:
        tried = one.this_version > one.in_use_version
        found.append((max(one.this_version, one.in_use_version), "shadow" if tried else "watched", one))
    return found


def write_rollout(
    engine: Engine, version: int, taker: str, state: State, text: str, at_us: int, *, gate: GateReport | None = None
) -> None:  # fmt: skip
    """Write down how far a release has come at one gateway, or below an enterprise at one site."""
    with writing(engine) as connection:
        values: dict[str, Any] = {"state": state, "text": text, "at_us": at_us}
        if gate is not None:
            values["gate"] = gate.model_dump(mode="json")
        _set_rollout(connection, version, taker, values, state=state, at_us=at_us)


def _set_rollout(
    connection: Connection, version: int, taker: str, values: Mapping[str, Any], *, state: State, at_us: int
) -> None:  # fmt: skip
    mine = (rollout_table.c.release_version == version) & (rollout_table.c.gateway == taker)
    if not connection.execute(sa.update(rollout_table).where(mine).values(dict(values))).rowcount:
        row = {"state": state, "text": "", "at_us": at_us, **values}
        connection.execute(sa.insert(rollout_table).values(release_version=version, gateway=taker, **row))
