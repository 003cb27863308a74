"""This file knows a site as a member of the enterprise's learning: a Flower client above, a server below.

Asynchronously, the site offers what its own rounds have changed, again until the enterprise says that it is stored.
Synchronously, a task from above carries the fleet's parameters; the site takes them as its base, lets its gateways
learn, and answers with what they have changed. Either way its voice is the sum of theirs.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import sqlalchemy as sa
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from aggregator.database import may_pass
from aggregator.errors import AggregatorError
from aggregator.learning.fates import Fates
from aggregator.learning.ledger import FenceLedger
from aggregator.learning.offers import Offers
from aggregator.learning.strategy import Parameters, RoundResult
from aggregator.merge.levels import levels_of, part_for_enterprise
from aggregator.registry import OWN_NETWORK
from aggregator.settings import UplinkSettings
from schemas.learning_task import (
    NEEDS_RELEASE,
    EvaluationReply,
    LearningTask,
    TrainingReply,
    adopted,
    whole_release,
)
from schemas.logs import event
from schemas.member_link import MemberLink, Membership
from schemas.offer import ACKNOWLEDGE_ACTION, OFFER, Acknowledgement
from schemas.release import TRAIN_STEP, Release
from schemas.release_fate import FATE
from schemas.signing import KeyRing, Signer
from schemas.topics import REPLY, Topic
from schemas.variation import Variation
from schemas.variation_task import ACTION, VariationMessage
from schemas.variation_task import RECORD as VARIATION_RECORD

log = logging.getLogger(__name__)

FATE_LOOK_S = 1.0
LONGEST_PAUSE_S = 900.0  # between two tries: an offer of 50,000 parameters every half minute would be 0.5 GB a day


class UplinkRefused(AggregatorError):
    """This site cannot do what the enterprise asked; the message goes back as the answer."""


class Site(Protocol):
    """What the uplink needs of the site's learning; every call waits for a round under way."""

    def current(self) -> Release:
        """The site's current release."""

    def learn_for_enterprise(self, theta: Parameters, fleet_version: int) -> RoundResult:
        """Run a round of the site from the fleet's parameters."""

    def judge_for_enterprise(self, task: LearningTask) -> EvaluationReply:
        """Ask the site's gateways how parameters do on what they held back."""

    def adopt(self, theta: Parameters, fleet_version: int, known: Variation | None = None) -> Release:
        """Take the fleet's parameters, and what it knows of healthy machines, into use on every gateway."""

    def adopt_whole(self, bundle: bytes, fleet_version: int) -> Release:
        """Take a release of the enterprise with everything in it, its network too."""

    def is_in_use(self, release: Release) -> bool:
        """Whether every gateway runs a release, or is to."""

    def vary_for_enterprise(self, known: Variation | None) -> Variation:
        """Ask the site's gateways how their machines vary."""

    def acknowledged(self, said: Acknowledgement) -> None:
        """Take what became of an offer."""


def make_uplink_app(site: Site) -> ClientApp:
    """Make the Flower app by which a site serves its enterprise."""
    app = ClientApp()

    @app.train()
    def learn(message: Message, _context: Context) -> Message:
        task = _checked(message, site.current())
        result = site.learn_for_enterprise(task.theta, task.base_version)
        if result.theta is None:
            raise UplinkRefused(f"the site's round is void: {result.void}")
        reply = TrainingReply(
            base_version=task.base_version,
            delta=part_for_enterprise(result.delta, levels_of(site.current())),
            weight=result.weight,
            loss_before=result.metrics["loss_before"],
            loss_after=result.metrics["loss_after"],
            held_back_rows=int(result.metrics["held_back_rows"]),
        )
        return Message(reply.record(), reply_to=message)

    @app.evaluate()
    def judge(message: Message, _context: Context) -> Message:
        task = _checked(message, site.current())
        return Message(site.judge_for_enterprise(task).record(), reply_to=message)

    @app.query("adopt")
    def adopt(message: Message, _context: Context) -> Message:
        bundle = whole_release(message)
        if bundle is not None:
            taken = site.adopt_whole(bundle, LearningTask.read(message).base_version)
        else:
            task = _checked(message, site.current())
            known = VariationMessage.read(message).known if VARIATION_RECORD in message.content else None
            taken = site.adopt(task.theta, task.base_version, known)
        return Message(adopted(taken.version, in_use=site.is_in_use(taken)), reply_to=message)

    @app.query(ACKNOWLEDGE_ACTION)
    def take_acknowledgement(message: Message, _context: Context) -> Message:
        site.acknowledged(Acknowledgement.read(message))
        return Message(RecordDict(), reply_to=message)

    @app.query(ACTION)
    def tell_variation(message: Message, _context: Context) -> Message:
        known = VariationMessage.read(message).known
        return Message(VariationMessage(site.vary_for_enterprise(known)).record(), reply_to=message)

    return app


def _checked(message: Message, release: Release) -> LearningTask:
    task = LearningTask.read(message)
    manifest = release.manifest
    if task.graph != manifest.files[TRAIN_STEP].sha256:
        if OWN_NETWORK in manifest.merge:
            raise UplinkRefused(own_network_words(release))
        raise UplinkRefused(
            f"fleet version {task.base_version} is of another model than this site's {release.version}; {NEEDS_RELEASE}"
        )
    fits = task.theta.shape == (manifest.parameter_count,) and task.theta.dtype == np.float32
    if not fits or not np.isfinite(task.theta).all():
        raise UplinkRefused(f"{manifest.parameter_count} finite float32 parameters are needed, others were sent")
    return task


def own_network_words(release: Release) -> str:
    """Say why a site keeps its network, and how it comes back to the fleet's."""
    return (
        f"release {release.version} of this site is of a network of its own ({release.manifest.family}), which its "
        "people have given it; take that back there, or import the same at the enterprise"
    )


class Uplink:
    """The connection of a site to its enterprise; the site's own rounds never wait for it."""

    def __init__(
        self,
        settings: UplinkSettings,
        site_name: str,
        site: Site,
        *,
        signer: Signer,
        keys: KeyRing,
        clock_us: Callable[[], int],
        ledger: FenceLedger,
        offers: Offers | None,
        fates: Fates,
    ) -> None:
        self._ledger = ledger
        self._offers = offers
        self._fates = fates
        self._repeat_s = settings.repeat_s
        self._stopping = threading.Event()
        self._fault: Exception | None = None
        self._threads = [
            threading.Thread(target=self._run, args=[self._tell_fates], name="learning-fates", daemon=True)
        ]
        if offers is not None:
            sends = partial(self._send_offers, offers)
            self._threads.append(threading.Thread(target=self._run, args=[sends], name="learning-offers", daemon=True))
        self._link = MemberLink(
            settings.broker,
            Membership(settings.enterprise, "enterprise", site_name),
            make_uplink_app(site),
            signer=signer,
            keys=keys,
            clock_us=clock_us,
            on_sent=self._count,
        )

    @property
    def fault(self) -> Exception | None:
        """What ended the thread that serves the enterprise, if anything did."""
        return self._fault or self._link.fault

    def start(self) -> None:
        """Connect in the background and serve the enterprise."""
        self._link.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Withdraw and disconnect; what was not acknowledged is offered again after the next start."""
        self._stopping.set()
        if self._offers is not None:
            self._offers.wake()
        self._link.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(self._repeat_s)
        self._ledger.flush()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._fault = error
            log.exception("learning_uplink_failed")

    def _tell_fates(self) -> None:
        """Say what became of the fleet's release here when that changes, and again until the enterprise has heard."""
        last, tries, next_at_s = "", 0, 0.0
        while not self._stopping.wait(FATE_LOOK_S):
            fate = None
            try:
                if self._link.wait_connected(1.0):
                    fate = self._fates.untold()
            except sa.exc.OperationalError as error:
                if not may_pass(error):
                    raise
                event(log, logging.WARNING, "fates_wait", problem=str(error.__cause__ or error))
            if fate is None or (fate.key == last and time.monotonic() < next_at_s):
                continue
            tries = tries + 1 if fate.key == last else 0
            last, next_at_s = fate.key, time.monotonic() + min(LONGEST_PAUSE_S, self._repeat_s * 2.0**tries)
            self._link.tell(fate.record(), FATE + fate.key)
            event(log, logging.INFO, "fate_sent", fleet_version=fate.fleet_version, state=fate.state, tries=tries + 1)

    def _send_offers(self, offers: Offers) -> None:
        """One after the other, oldest first; the next when the enterprise has said what became of this one."""
        last, tries = "", 0
        while not self._stopping.is_set():
            seen = offers.changes
            offer = None
            try:
                if self._link.wait_connected(1.0):
                    offer = offers.next()
            except sa.exc.OperationalError as error:
                if not may_pass(error):
                    raise
                event(log, logging.WARNING, "offers_wait", problem=str(error.__cause__ or error))
            if offer is not None:
                tries = tries + 1 if offer.key == last else 0
                last = offer.key
                self._link.tell(offer.record(), OFFER + offer.key)
                event(
                    log, logging.INFO, "offer_sent", rounds=offer.rounds, last_round=offer.last_round, tries=tries + 1
                )
            offers.wait_change(seen, min(LONGEST_PAUSE_S, self._repeat_s * 2.0**tries))

    def _count(self, topic: Topic, sent_bytes: int) -> None:
        self._ledger.count(topic, sent_bytes)
        if topic is REPLY:  # on the worker's thread; presence comes on the network's, which must not wait for a disk
            self._ledger.flush()
