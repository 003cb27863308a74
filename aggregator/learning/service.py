"""This file knows when rounds happen and what becomes of them: the learning of one site or one enterprise.

Rounds run one after the other, each under one lock: the site's own on its schedule, those the enterprise asks for in
between. A round that a former life left open is taken up where it stood, or voided with its reason. An asynchronous
enterprise asks nobody to learn: it merges what sites have offered, once enough of them have.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from flwr.app import Message
from sqlalchemy.engine import Engine

from aggregator.carriers.mqtt import MqttCarrier, Server
from aggregator.carriers.superlink_carrier import SuperLinkCarrier
from aggregator.carriers.verdicts import tell_rejected
from aggregator.database import writing
from aggregator.learning.book import Answer, OpenRound, RoundBook, Said
from aggregator.learning.fates import Fates
from aggregator.learning.fleet import FleetPush
from aggregator.learning.intake import Intake, Rules
from aggregator.learning.ledger import FenceLedger
from aggregator.learning.offers import Offers, SiteRound
from aggregator.learning.participants import Participants
from aggregator.learning.refusals import Refusals
from aggregator.learning.standings import Standings
from aggregator.learning.strategy import MergeStrategy, Parameters, Plan, RoundResult, digest_of, run_rounds
from aggregator.learning.turns import FairLock
from aggregator.learning.variation import MAX_SESSIONS_A_MEMBER, ask_variation, learn_variation
from aggregator.merge.levels import levels_of, part_for_enterprise, part_for_site, with_own_parts
from aggregator.merge.pipeline import MergeOutcome
from aggregator.merge.rule_names import Rule
from aggregator.merge.validate import SITE_SCREEN_FACTOR, Limits, Rejection, Update
from aggregator.registry import FLEET_PARAMETERS, FLEET_VERSION, OWN_NETWORK, Registry
from aggregator.release_import import check_runs, check_signer
from aggregator.rollout import Rollout
from aggregator.settings import AggregatorSettings
from aggregator.uplink import Uplink, UplinkRefused, own_network_words
from schemas.errors import MessageRejected, ReleaseRejected
from schemas.learning_task import EVALUATE, EvaluationReply, LearningTask
from schemas.logs import event
from schemas.member_condition import MemberCondition
from schemas.offer import Acknowledgement
from schemas.release import TRAIN_STEP, VARIATION, Release, read_release_bundle
from schemas.release_fate import ReleaseFate
from schemas.signing import KeyRing, Signer
from schemas.variation import Variation, merge

log = logging.getLogger(__name__)

TICK_S = 0.5
BUSY_SITE_S = 3.0  # a site in the middle of a round is not waited for where nobody else is
SITE_GATEWAYS = 1000  # most gateways a site may speak for
GATEWAY_LIMITS = Limits(max_weight=4096.0)
SITE_LIMITS = Limits(4096.0 * SITE_GATEWAYS, screen_factor=SITE_SCREEN_FACTOR)  # a site speaks for all its gateways


def _wall_clock_us() -> int:
    return time.time_ns() // 1000


class _Recorder:
    """One round's part of the book."""

    def __init__(self, book: RoundBook, standings: Standings, opened: OpenRound) -> None:
        self._book = book
        self._standings = standings
        self._opened = opened
        self._round_id = opened.round_id

    def said(self) -> dict[str, Said]:
        return self._book.said(self._round_id)

    def updates(self) -> Sequence[Update]:
        return self._book.updates(self._round_id)

    def answered(self) -> set[str]:
        return set(self._opened.invited) if self._opened.from_buffer else self._book.answered(self._round_id)

    def late(self) -> list[Update]:
        return self._book.waiting.of_round(self._round_id)

    def recent_norms(self, asked_as: str) -> list[float]:
        return self._book.recent_norms(self._round_id, asked_as)

    def note_answer(self, answer: Answer, size_bytes: int) -> None:
        self._book.note_answer(self._round_id, answer, size_bytes)

    def note_rejection(self, rejection: Rejection) -> None:
        self._book.note_rejection(self._round_id, rejection)
        event(log, logging.WARNING, "update_rejected", round=self._round_id, member=rejection.member,
              reason=rejection.reason, text=rejection.text)  # fmt: skip

    def note_merge(
        self, outcome: MergeOutcome, digest: str, metrics: dict[str, float], useful: Mapping[str, float]
    ) -> None:
        self._book.note_merge(self._round_id, outcome, digest, metrics, useful)

    def note_condition(self, member: str, condition: MemberCondition) -> None:
        self._standings.note_condition(member, condition)


class Learning:
    """All of the learning of one aggregator: rounds, releases, rollout, and a site's uplink.

    Attributes:
        registry: The releases.
        carrier: How members are reached.
        rollout: How releases reach gateways; None for an enterprise, whose sites do that.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        engine: Engine,
        signer: Signer,
        keys: KeyRing,
        clock_us: Callable[[], int] = _wall_clock_us,
        *,
        first: Release,
        rule: Rule | None = None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._clock_us = clock_us
        self._first = first
        self._rule = rule
        self._is_site = settings.role == "site"
        self._keys = keys
        self._round_lock = FairLock()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._book = RoundBook(engine, settings.role, clock_us)
        self._ledger = FenceLedger(engine, clock_us)
        self._standings = Standings(engine, settings.role, clock_us)
        self._offers: Offers | None = None
        self._fates = Fates(engine)
        self.registry = Registry(engine, signer, clock_us)
        self.carrier = _carrier_of(settings, signer, keys)
        self._intake = Intake(
            engine, self._book, self.carrier, self.registry.current, self._rules,
            on_stored=self._wake.set, on_adopted=self._note_adopted, on_fate=self._note_fate, clock_us=clock_us,
        )  # fmt: skip
        self.carrier.on_late = self._intake.put
        keep_rows = settings.historian.dead_letter_rows
        self._refusals = Refusals(engine, self.carrier, keep_rows=keep_rows, clock_us=clock_us)
        if isinstance(self.carrier, MqttCarrier):
            self.carrier.on_refused = self._refusals.put
        offered = not self._is_site and settings.learning.upward == "asynchronous"
        self._members = Participants(self._book, self._standings, self.carrier, takes_offers=offered)
        self.rollout: Rollout | None = None
        self._fleet: FleetPush | None = None
        if self._is_site:
            self.rollout = Rollout(
                settings.broker, settings.name, self.registry, engine,
                signer=signer, keys=keys, clock_us=clock_us, settings=settings.rollout,
            )  # fmt: skip
        else:
            self._fleet = FleetPush(engine, self.carrier, self.registry, clock_us)
        self._uplink: Uplink | None = None
        if settings.uplink is not None:
            if settings.learning.upward == "asynchronous":
                self._offers = Offers(engine, settings.name, clock_us)
            self._uplink = Uplink(
                settings.uplink, settings.name, self,
                signer=signer, keys=keys, clock_us=clock_us, ledger=self._ledger, offers=self._offers,
                fates=self._fates,
            )  # fmt: skip
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="learning-rounds", daemon=True)

    def start(self) -> None:
        """Make sure there is a release, connect, and run rounds in the background."""
        self.registry.start_with(self._first)
        self._intake.start()
        self._refusals.start()
        self.carrier.start()
        for part in (self.rollout, self._fleet):
            if part is not None:
                part.start()
        if self._uplink is not None:
            self._uplink.start()
        self._thread.start()

    def use_settings(self, settings: AggregatorSettings) -> None:
        """Run rounds by other settings from the next one on, and bring releases out by them."""
        self._settings = settings
        if self.rollout is not None:
            self.rollout.use_settings(settings.rollout)

    def stop(self) -> None:
        """End; a round under way stays open and is taken up at the next start."""
        self._stopping.set()
        self._wake.set()
        self.carrier.stop()
        self._intake.stop()
        self._refusals.stop()
        if self._fleet is not None:
            self._fleet.stop()
        if self._uplink is not None:
            self._uplink.stop()
        if self.rollout is not None:
            self.rollout.stop()
        if self._thread.is_alive():
            self._thread.join(self._settings.learning.deadline_s + 5.0)

    @property
    def fault(self) -> Exception | None:
        """What ended a thread of ours, if anything did: the service should stop then, and be started again."""
        parts = (self.rollout, self._fleet, self._uplink, self._intake, self._refusals)
        own = self._fault or (self.carrier.fault if isinstance(self.carrier, SuperLinkCarrier) else None)
        return own or next((part.fault for part in parts if part is not None and part.fault is not None), None)

    @property
    def alive(self) -> bool:
        """Whether rounds are run and releases offered."""
        return self._thread.is_alive() and self.fault is None

    def dropped(self) -> dict[str, int]:
        """Messages of members that were not used, or came outside of a round, since the start, by what they were."""
        parts = (self.carrier, self._intake, self._refusals)
        return dict(sum((part.counters.copy() for part in parts), Counter()))  # other threads count on meanwhile

    def current(self) -> Release:
        """The current release."""
        return self.registry.current()

    def run_round(self) -> RoundResult | None:
        """Run one round of our own now; None when too few members are there, or have offered, or we are stopping."""
        with self._round_lock:
            release = self.registry.current()
            members = self._able(release, self._members.candidates())
            if len(members) < self._settings.learning.min_members:
                return None
            opened = self._open_round(release, members)
            return self._carry_out(opened, release, release.parameters(), _fleet_version(release))

    def learn_for_enterprise(self, theta: Parameters, fleet_version: int) -> RoundResult:
        """Run a round of this site from the fleet's parameters.

        Raises:
            UplinkRefused: No gateway is there, or this site is stopping.
        """
        with self._round_lock:
            release = self._adopt(theta, fleet_version)
            theta = with_own_parts(theta, release.parameters(), levels_of(release))
            members = self._able(release, self._members.present())
            if len(members) < self._settings.learning.min_members:
                raise UplinkRefused(
                    f"{len(members)} gateways are here and run the network of release {release.version}, "
                    f"{self._settings.learning.min_members} needed"
                )
            opened = self._open_round(release, members, for_enterprise=True)
            result = self._carry_out(opened, release, theta, fleet_version)
        if result is None:
            raise UplinkRefused("the site is stopping; ask again")
        return result

    def acknowledged(self, said: Acknowledgement) -> None:
        """Take what the enterprise says became of an offer, or of what it was told of its release."""
        self._fates.heard(said.key)
        if self._offers is None or not self._offers.close(said):
            return
        level = logging.INFO if said.fate == "stored" else logging.WARNING
        event(log, level, f"offer_{said.fate}", key=said.key, text=said.text)

    def judge_for_enterprise(self, task: LearningTask) -> EvaluationReply:
        """Ask the gateways how parameters do on what they held back; the mean over their rows.

        Raises:
            UplinkRefused: No gateway gave a usable answer.
        """
        with self._round_lock:
            release = self.registry.current()
            theta = with_own_parts(task.theta, release.parameters(), levels_of(release))
            content = replace(task, theta=theta).record()
            messages = [
                self.carrier.create_message(content, EVALUATE, node, f"fleet-{task.round_number}")
                for node in self.carrier.get_node_ids()
            ]
            replies = self.carrier.send_and_receive(messages, timeout=self._settings.learning.deadline_s)
        judged = []
        for reply in replies:
            try:
                judged.append(EvaluationReply.read(reply))
            except (MessageRejected, ValueError):  # an error reply has no content
                continue
        rows = sum(min(each.rows, GATEWAY_LIMITS.max_weight) for each in judged)
        if not judged:
            raise UplinkRefused("no gateway judged the parameters")
        return EvaluationReply(
            sum(each.loss * min(each.rows, GATEWAY_LIMITS.max_weight) for each in judged) / rows, rows
        )

    def vary_for_enterprise(self, known: Variation | None) -> Variation:
        """Ask the gateways how their machines vary, on behalf of the fleet; the sum of their answers."""
        with self._round_lock:
            answers, _ = ask_variation(
                self.carrier, known, name=f"fleet-{self._clock_us()}", deadline_s=self._settings.learning.deadline_s
            )
        return merge(answers.values(), max_sessions=MAX_SESSIONS_A_MEMBER)

    def adopt(self, theta: Parameters, fleet_version: int, known: Variation | None = None) -> Release:
        """Take the fleet's parameters and knowledge into use on every gateway; those in use already change nothing."""
        with self._round_lock:
            return self._adopt(theta, fleet_version, known)

    def adopt_whole(self, bundle: bytes, fleet_version: int) -> Release:
        """Take a release of the enterprise with everything in it: its network is another than ours.

        Raises:
            ReleaseRejected: It is damaged, signed by nobody who may, or does not run.
            UplinkRefused: This site's people have given it a network of its own.
        """
        whole = read_release_bundle(bundle, self._keys)
        check_signer(whole, self._keys)
        check_runs(whole)
        with self._round_lock:
            release = self.registry.current()
            if fleet_version <= _fleet_version(release):
                return release
            if OWN_NETWORK in release.manifest.merge:
                raise UplinkRefused(own_network_words(release))
            merge = {"rule": "fleet", FLEET_PARAMETERS: digest_of(whole.parameters())}
            with writing(self._engine) as connection:
                release = self.registry.publish_foreign(
                    connection, whole, level="fleet", merge=merge, actor="the enterprise", fleet_version=fleet_version,
                    above_version=self._highest_in_use(),
                )  # fmt: skip
            event(log, logging.INFO, "fleet_adopted", fleet_version=fleet_version, version=release.version,
                  family=release.manifest.family)  # fmt: skip
            self._spread_word()
            return release

    def is_in_use(self, release: Release) -> bool:
        """Whether a release has come through its stages."""
        return any(one.version == release.version and one.state == "current" for one in self.registry.standings())

    def _able(self, release: Release, members: list[str]) -> list[str]:
        """Of members, those that do not say they run another network than the release: these would refuse to learn."""
        if self.rollout is None:
            return members
        unable = self.rollout.running_another(release.manifest.files[TRAIN_STEP].sha256)
        return [name for name in members if name not in unable]

    def _adopt(self, theta: Parameters, fleet_version: int, known: Variation | None = None) -> Release:
        release = self.registry.current()
        digest, own = digest_of(theta), release.parameters()
        theta = with_own_parts(theta, own, levels_of(release))
        in_use = digest_of(theta) == digest_of(own) and digest == self._fleet_parameters()
        if fleet_version <= _fleet_version(release) or in_use:
            return release
        with writing(self._engine) as connection:
            release = self.registry.publish(
                connection, theta, level="fleet", data={FLEET_VERSION: fleet_version}, metrics={},
                merge={"rule": "fleet", FLEET_PARAMETERS: digest}, above_version=self._highest_in_use(),
                knowledge={VARIATION: known.pack()} if known is not None else None,
            )  # fmt: skip
        event(log, logging.INFO, "fleet_adopted", fleet_version=fleet_version, version=release.version)
        self._spread_word()
        return release

    def _run(self) -> None:
        try:
            self._take_up_open_rounds()
            self._keep_schedule()
        except Exception as error:
            self._fault = error
            log.exception("learning_failed")

    def _keep_schedule(self) -> None:
        done, next_at_s = 0, time.monotonic()
        while not self._stopping.is_set():
            settings = self._settings.learning
            may = settings.enabled and not 0 < settings.max_rounds <= done
            if may and self._members.takes_offers:
                if time.monotonic() >= next_at_s and self._members.buffer_is_ready(settings, self._clock_us()):
                    result = self.run_round()
                    done += result is not None
                    if result is None or result.void:
                        next_at_s = time.monotonic() + settings.deadline_s
            elif may and time.monotonic() >= next_at_s and self._enough_are_there(settings.min_members):
                next_at_s = time.monotonic() + settings.round_interval_s
                done += self.run_round() is not None
            self._ledger.flush()
            self._wake.wait(TICK_S)
            self._wake.clear()

    def _enough_are_there(self, count: int) -> bool:
        return self.carrier.connected and len(self._members.present()) >= count

    def _take_up_open_rounds(self) -> None:
        for opened in self._book.unfinished():
            with self._round_lock:
                release = self.registry.current()
                age_s = (self._clock_us() - opened.started_at_us) / 1e6
                patience_s = 10 * self._settings.learning.deadline_s
                if opened.for_enterprise:
                    self._book.note_void(opened.round_id, "interrupted; the enterprise asks again")
                elif opened.base_version != release.version:
                    self._book.note_void(
                        opened.round_id,
                        f"interrupted, and release {release.version} has replaced {opened.base_version} since",
                    )
                elif not 0 <= age_s <= patience_s:
                    self._book.note_void(opened.round_id, f"interrupted for {age_s:.0f} s, {patience_s:.0f} s allowed")
                else:
                    event(log, logging.INFO, "round_resumed", round=opened.round_id, state=opened.state)
                    if opened.from_buffer:
                        self._await_invited(set(opened.invited))
                    else:
                        self._await_invited(set(opened.invited) - self._book.answered(opened.round_id))
                    self._carry_out(opened, release, release.parameters(), _fleet_version(release))

    def _await_invited(self, wanted: set[str]) -> None:
        give_up_at_s = time.monotonic() + min(self.carrier.returns_within_s, self._settings.learning.deadline_s)
        while not wanted <= set(self._members.present()) and time.monotonic() < give_up_at_s:
            if self._stopping.wait(0.05):
                return

    def _carry_out(
        self, opened: OpenRound, release: Release, theta: Parameters, fleet_version: int
    ) -> RoundResult | None:
        settings, levels = self._settings.learning, levels_of(release)
        keep = part_for_site if self._is_site else part_for_enterprise
        plan = Plan(
            graph=release.manifest.files[TRAIN_STEP].sha256,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            proximal=settings.proximal,
            settings=settings.rule_settings,
            rule=self._rule or settings.rule,
            root_member=settings.root_member,
            limits=self._rules().limits,
            part=partial(keep, levels=levels),
            min_accepted=settings.min_members,
            quorum_share=settings.quorum_share,
            wrong_members=settings.wrong_members,
            # Adam moves no parameter further than its rate in a step, plain descent less; a site goes by its own steps.
            reach=settings.steps * settings.learning_rate * theta.size**0.5 if self._is_site else None,
        )
        self._book.note_asked(opened.round_id, plan.asked_as)
        strategy = MergeStrategy(
            self.carrier, plan, theta,
            base_version=opened.base_version, first_round=opened.round_id, invited=opened.invited,
            recorder=_Recorder(self._book, self._standings, opened),
        )  # fmt: skip
        down, up = self.carrier.bytes_down, self.carrier.bytes_up
        carried = self.carrier.story()
        (result,) = run_rounds(self.carrier, strategy, rounds=1, deadline_s=settings.deadline_s)
        self._book.note_traffic(
            opened.round_id, bytes_down=self.carrier.bytes_down - down, bytes_up=self.carrier.bytes_up - up
        )
        if carried:
            self._book.note_carried(opened.round_id, carried, self.carrier.story())
        if self._stopping.is_set() and result.theta is None:
            return None
        concluded = self._conclude(opened, result, fleet_version)
        tell_rejected(self.carrier, opened.round_id, result.rejected)
        return concluded

    def _conclude(self, opened: OpenRound, result: RoundResult, fleet_version: int) -> RoundResult:
        if result.theta is None or result.outcome is None:
            self._book.note_void(opened.round_id, result.void, result.metrics, worse=result.worse)
            with writing(self._engine) as connection:
                self._members.note_round(connection, opened, result.contributions)
            event(log, logging.WARNING, "round_void", round=opened.round_id, reason=result.void)
            return result
        data, merge = self._describe(opened, result, fleet_version, self._fleet_parameters())
        knowledge = {} if self._knows_from_fleet(fleet_version) else self._learn_variation(opened)
        try:
            made = self._release_merged(opened, result, data, merge, knowledge, fleet_version)
        except ReleaseRejected as error:
            if error.reason != "replaced":
                raise
            void = replace(result, theta=None, void=str(error))
            self._book.note_void(opened.round_id, void.void, void.metrics)
            event(log, logging.WARNING, "round_void", round=opened.round_id, reason=void.void)
            return void
        event(log, logging.INFO, "round_released", round=opened.round_id, version=made.version,
              rule=result.outcome.rule_used, accepted=data["members"], **result.metrics)  # fmt: skip
        self._spread_word()
        return result

    def _release_merged(
        self, opened: OpenRound, result: RoundResult, data: dict[str, int], merge: dict[str, str | int | float],
        knowledge: dict[str, bytes], fleet_version: int,
    ) -> Release:  # fmt: skip
        """Make a release of what was merged, with all that hangs on it, in one transaction."""
        assert result.theta is not None
        fleet_parameters, levels = self._fleet_parameters(), levels_of(self.registry.current())
        with writing(self._engine) as connection:
            made = self.registry.publish(
                connection, result.theta, level="site" if self._is_site else "fleet", data=data,
                metrics=result.metrics, merge=merge, above_version=self._highest_in_use(), knowledge=knowledge,
                learnt_on=opened.base_version,
            )  # fmt: skip
            self._book.note_release(connection, opened.round_id, made.version, result.metrics)
            self._members.note_round(connection, opened, result.contributions)
            if self._offers is not None and not opened.for_enterprise:  # what it asked for, it gets as the answer
                self._offers.add(
                    connection,
                    SiteRound(
                        opened.round_id,
                        opened.base_version,
                        made.version,
                        fleet_version,
                        fleet_parameters,
                        part_for_enterprise(result.delta, levels),
                        result.weight,
                        result.metrics,
                    ),
                )
        return made

    def _describe(
        self, opened: OpenRound, result: RoundResult, fleet_version: int, fleet_parameters: str
    ) -> tuple[dict[str, int], dict[str, str | int | float]]:
        """What the manifest says of the data and of the merge."""
        assert result.theta is not None
        assert result.outcome is not None
        data = {"members": len(result.outcome.accepted), "rows": int(result.weight)}
        merge: dict[str, str | int | float] = {
            "rule": result.outcome.rule_used,
            "round": opened.round_id,
            "accepted": len(result.outcome.accepted),
            "rejected": len(result.rejected),
            "digest": digest_of(result.theta),
        }
        if self._is_site:
            data[FLEET_VERSION] = fleet_version
            merge[FLEET_PARAMETERS] = fleet_parameters
            if OWN_NETWORK in self.registry.current().manifest.merge:
                merge[OWN_NETWORK] = 1
        return data, merge

    def _open_round(self, release: Release, members: list[str], *, for_enterprise: bool = False) -> OpenRound:
        return self._members.open_round(
            self._settings.learning, release.version, members, seed=self._clock_us(), for_enterprise=for_enterprise
        )

    def _rules(self) -> Rules:
        limits = replace(
            GATEWAY_LIMITS if self._is_site else SITE_LIMITS, max_staleness=self._settings.learning.max_staleness
        )
        return Rules(limits, self._members.takes_offers)

    def _fleet_parameters(self) -> str:
        """Digest of the fleet's parameters that ours come from; before the first, of what everybody came with."""
        known = self.registry.current().manifest.merge.get(FLEET_PARAMETERS)
        return str(known) if known else digest_of(self._first.parameters())

    def _knows_from_fleet(self, fleet_version: int) -> bool:
        """Whether what is known came from the enterprise: this site's machines are in it, and all the others'."""
        return self._is_site and fleet_version > 0 and VARIATION in self.registry.current().files

    def _learn_variation(self, opened: OpenRound) -> dict[str, bytes]:
        """What members' machines have shown of how healthy ones vary, on top of what the product came with.

        It is asked anew in every round, so nothing is counted twice; who is away is heard again next time. Sites that
        offer are not waited for: what is known stays where fewer have answered.
        """
        round_id, deadline_s = opened.round_id, self._settings.learning.deadline_s
        down, up = self.carrier.bytes_down, self.carrier.bytes_up
        learnt = learn_variation(
            self.carrier, name=f"variation-{round_id}",
            deadline_s=min(deadline_s, BUSY_SITE_S) if opened.from_buffer else deadline_s,
            max_sessions=MAX_SESSIONS_A_MEMBER if self._is_site else MAX_SESSIONS_A_MEMBER * SITE_GATEWAYS,
        )  # fmt: skip
        self._book.note_traffic(
            round_id, bytes_down=self.carrier.bytes_down - down, bytes_up=self.carrier.bytes_up - up
        )
        for rejection in learnt.rejected:
            event(log, logging.WARNING, "variation_rejected", round=round_id, member=rejection.member,
                  reason=rejection.reason, text=rejection.text)  # fmt: skip
        if not learnt.members or not learnt.known.sessions:
            return {}
        came_with = self._first.files.get(VARIATION)
        known = learnt.known if came_with is None else Variation.unpack(came_with) + learnt.known
        before = self.registry.current().files.get(VARIATION) if opened.from_buffer else None
        if before is not None and Variation.unpack(before).sessions > known.sessions:
            return {}
        return {VARIATION: known.pack()}

    def _note_adopted(self, site: str, reply: Message) -> None:
        if self._fleet is not None:
            self._fleet.note(site, reply)

    def _note_fate(self, site: str, fate: ReleaseFate) -> str:
        return "a site has no sites below it" if self._fleet is None else self._fleet.note_fate(site, fate)

    def _highest_in_use(self) -> int:
        return self.rollout.highest_version if self.rollout is not None else 0

    def _spread_word(self) -> None:
        self._wake.set()
        if self._fleet is not None:
            self._fleet.wake()
        if self._offers is not None:
            self._offers.wake()
        if self.rollout is not None:
            self.rollout.wake()


def _carrier_of(settings: AggregatorSettings, signer: Signer, keys: KeyRing) -> MqttCarrier | SuperLinkCarrier:
    superlink, is_site = settings.learning.superlink, settings.role == "site"
    if superlink is not None:
        return SuperLinkCarrier(superlink, settings.folder, keys)
    server = Server(settings.name, settings.role, "gateway" if is_site else "site")
    return MqttCarrier(settings.broker, server, signer=signer, keys=keys)


def _fleet_version(release: Release) -> int:
    return release.manifest.data.get(FLEET_VERSION, 0)
