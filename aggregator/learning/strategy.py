"""This file knows a round as Flower sees it: a Strategy that asks, merges behind validation, and lets members judge.

It decides and does no I/O of its own; what must be remembered it tells a `Recorder` before going on. One strategy
serves one round of a live server, or many in a row within one process.
"""

import hashlib

# ruff: noqa: ARG001, ARG002 - the arguments of a Strategy and of an app are given by Flower
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from aggregator.carriers.port import SERVER_NODE_ID, Carrier
from aggregator.learning.book import Answer, Said
from aggregator.learning.selection import contributions
from aggregator.merge.pipeline import MergeOutcome, merge
from aggregator.merge.rule_names import Rule
from aggregator.merge.tolerance import needed, promised
from aggregator.merge.validate import Base, Limits, ReadLater, Rejection, Update, Usual, validate
from schemas.errors import MessageRejected
from schemas.flower_codec import new_context
from schemas.learning_task import EVALUATE, TRAIN, EvaluationReply, LearningTask, TrainingReply
from schemas.member_condition import MemberCondition

# ruff: noqa: ARG001, ARG002 - the arguments of a Strategy and of an app are given by Flower

WORSE_THAN = 1.05  # healthy scores scatter by a few percent between evaluations of the same model
TINY_LOSS = 1e-12
DECLINED, GONE = "refused", "not_there"  # the two reasons for which nobody is called wrong

Parameters = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a round asks.

    Attributes:
        graph: sha256 of the training graph.
        steps: Training steps of each member.
        learning_rate: Step size of Adam.
        proximal: Weight of the pull to the base.
        settings: Further settings of the training graph, by name; the release has defaults.
        seed: The round's number is added to it.
        rule: How updates are merged.
        root_member: Whose update the others are compared with, for the rule that does.
        limits: What one update may be.
        part: Takes out of an update, shape (P,), what is not merged at this level; see `aggregator.merge.levels`.
        min_accepted: Fewer accepted updates than this void the round.
        quorum_share: And fewer than this share of the invited.
        wrong_members: And fewer than twice this and 3; None: as many as `tolerance.promised` to the invited.
        reach: As far as one member can come with these steps, see `aggregator.merge.validate.Usual`; None: not known.
    """

    graph: str
    steps: int = 60
    learning_rate: float = 1e-3
    proximal: float = 0.01
    settings: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    rule: Rule = "auto"
    root_member: str | None = None
    limits: Limits = field(default_factory=Limits)
    part: Callable[[NDArray[Any]], NDArray[Any]] = lambda delta: delta
    min_accepted: int = 1
    quorum_share: float = 0.5
    wrong_members: int | None = None
    reach: float | None = None

    @property
    def asked_as(self) -> str:
        """Name what is asked: norms of updates are compared where it is the same."""
        asked = (self.graph, self.steps, self.learning_rate, self.proximal, sorted(self.settings.items()))
        return hashlib.sha256(repr(asked).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many accepted updates a round needs, and how many wrong ones among them it then withstands."""

    needed: int
    wrong: int

    def text(self) -> str:
        """For people."""
        why = f" so that {self.wrong} may be wrong" if self.needed == needed(self.wrong) else ""
        return f"{self.needed} needed{why}"


@dataclass(frozen=True, slots=True, eq=False)
class RoundResult:
    """What came of one round.

    Attributes:
        round_number: Which.
        theta: The merged parameters when the round is good, else None.
        outcome: What the merge says; None when nobody answered usefully.
        rejected: Who did not take part, and why.
        void: Why the round is void; empty when it is good.
        worse: Whether that is because members are worse off with what was merged.
        weight: Sum of the accepted updates' weights, in rows.
        metrics: Losses before and after, on what members held back.
        contributions: Cosine of each accepted member's answer with the merged update.
    """

    round_number: int
    theta: Parameters | None
    outcome: MergeOutcome | None
    rejected: tuple[Rejection, ...]
    void: str
    weight: float
    metrics: dict[str, float]
    worse: bool = False
    contributions: Mapping[str, float] = field(default_factory=dict)

    @property
    def delta(self) -> Parameters:
        """What a good round adds to its base, shape (P,), float32."""
        assert self.outcome is not None
        assert self.outcome.delta is not None
        return self.outcome.delta


class Recorder(Protocol):
    """What remembers a round while it runs, its updates among it; every call returns once it is safe."""

    def said(self) -> dict[str, Said]:
        """Who has answered in a former life of the round that begins now, and what they have said."""

    def updates(self) -> Sequence[Update]:
        """What members have answered in this round, each perhaps read when it is asked for."""

    def answered(self) -> set[str]:
        """Members that need not be asked again."""

    def late(self) -> list[Update]:
        """What waited when the round opened: learnt from older releases, or offered unasked."""

    def recent_norms(self, asked_as: str) -> list[float]:
        """Norms of updates that rounds before this one have merged, newest first, where the same was asked."""

    def note_answer(self, answer: Answer, size_bytes: int) -> None: ...

    def note_rejection(self, rejection: Rejection) -> None: ...

    def note_merge(
        self, outcome: MergeOutcome, digest: str, metrics: dict[str, float], useful: Mapping[str, float]
    ) -> None: ...

    def note_condition(self, member: str, condition: MemberCondition) -> None: ...


class NoRecorder:
    """Remembers updates until the next round begins, nothing else: for rounds that die with their process."""

    def __init__(self) -> None:
        self._updates: list[Update] = []

    def said(self) -> dict[str, Said]:
        self._updates = []
        return {}

    def updates(self) -> Sequence[Update]:
        return self._updates

    def answered(self) -> set[str]:
        return set()

    def late(self) -> list[Update]:
        return []

    def recent_norms(self, asked_as: str) -> list[float]:
        return []

    def note_answer(self, answer: Answer, size_bytes: int) -> None:
        self._updates.append(answer.update)

    def note_rejection(self, rejection: Rejection) -> None:
        """Nothing."""

    def note_merge(
        self, outcome: MergeOutcome, digest: str, metrics: dict[str, float], useful: Mapping[str, float]
    ) -> None:
        """Nothing."""

    def note_condition(self, member: str, condition: MemberCondition) -> None:
        """Nothing."""


class MergeStrategy(Strategy):
    """Rounds of one server on one base; `results` has one entry a round that has ended."""

    def __init__(
        self,
        carrier: Carrier,
        plan: Plan,
        theta: Parameters,
        *,
        base_version: int,
        first_round: int = 1,
        invited: Sequence[str] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._carrier = carrier
        self._plan = plan
        self.theta = theta
        self._base_version = base_version
        self._first_round = first_round
        self._wanted = None if invited is None else set(invited)
        self._recorder: Recorder = recorder or NoRecorder()
        self._round_number = first_round
        self._invited: set[str] = set()
        self._said: dict[str, Said] = {}
        self._rejected: dict[str, Rejection] = {}
        self._candidate: RoundResult | None = None
        self._asked_of_base: list[Message] = []
        self.results: list[RoundResult] = []
        carrier.on_reply = self._note

    def begin_at(self, round_number: int) -> None:
        """Number the next round that is started."""
        self._first_round = round_number

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every member that is there, but for those whose answer is already stored."""
        self._round_number = self._first_round + server_round - 1
        self._said = self._recorder.said()
        self._rejected, self._candidate, self._asked_of_base = {}, None, []
        present = {name: node for node in grid.get_node_ids() if (name := self._carrier.member_of(node)) is not None}
        self._invited = set(present) if self._wanted is None else self._wanted
        asked = sorted((self._invited & set(present)) - self._recorder.answered())
        content = self._task(self.theta).record()  # one for all: a thousand copies of the parameters are 200 MB
        return [grid.create_message(content, TRAIN, present[name], str(self._round_number)) for name in asked]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Merge what was accepted; None when there is too little of it."""
        for reply in replies:
            self._note(reply)
        fresh = self._parts(self._recorder.updates())
        late = self._parts(self._recorder.late())
        root = None
        if self._plan.root_member in self._said:
            root = next(update.delta for update in fresh if update.member == self._plan.root_member)
        outcome = merge(
            ReadLater(len(fresh) + len(late), lambda n: fresh[n] if n < len(fresh) else late[n - len(fresh)]),
            self._base(),
            self._plan.rule,
            limits=self._limits(),
            root=root,
            usual=Usual(self._recorder.recent_norms(self._plan.asked_as), self._plan.reach),
        )
        rejected = (*self._rejected.values(), *outcome.rejected.values())
        accepted = [said for name, said in sorted(self._said.items()) if name in outcome.accepted]
        count = len(outcome.accepted)
        metrics = {
            "loss_before": _mean((said.loss_before, said.held_back_rows) for said in accepted),
            "loss_local": _mean((said.loss_after, said.held_back_rows) for said in accepted),
            "held_back_rows": float(sum(said.held_back_rows for said in accepted)),
        }
        quorum = self._quorum(rejected)
        promise = {"needed": float(quorum.needed), "withstands": float(quorum.wrong)}
        if outcome.delta is None or count < quorum.needed:
            text = f"{count} of {len(self._invited)} invited gave a usable update, {quorum.text()}"
            self._end(RoundResult(self._round_number, None, outcome, rejected, text, 0.0, promise))
            return None, None
        metrics |= promise
        theta = (self.theta.astype(np.float64) + outcome.delta).astype(np.float32)
        weight = sum(outcome.accepted.values())
        useful = contributions(
            ((update.member, update.delta) for update in fresh if update.member in outcome.accepted), outcome.delta
        )
        self._recorder.note_merge(outcome, digest_of(theta), metrics, useful)
        self._candidate = RoundResult(
            self._round_number, theta, outcome, rejected, "", weight, metrics, contributions=useful
        )
        return ArrayRecord({"theta": Array(theta)}), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let those whose updates count judge the merged parameters on what they held back.

        Whose update had waited has not said how the base does there: it judges both.
        """
        candidate = self._candidate
        if candidate is None or candidate.theta is None or candidate.outcome is None:
            return []
        judges = {
            node: member
            for node in grid.get_node_ids()
            if (member := self._carrier.member_of(node)) in candidate.outcome.accepted
        }

        def ask(theta: Parameters, nodes: Iterable[int]) -> list[Message]:
            content = self._task(theta).record()
            return [grid.create_message(content, EVALUATE, node, str(self._round_number)) for node in nodes]

        self._asked_of_base = ask(self.theta, (node for node, name in judges.items() if name not in self._said))
        return [*self._asked_of_base, *ask(candidate.theta, judges)]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Accept the merged parameters unless the members are worse off with them."""
        candidate = self._candidate
        if candidate is None:
            return None
        of_base = {message.metadata.message_id for message in self._asked_of_base}
        before = {name: (said.loss_before, float(said.held_back_rows)) for name, said in self._said.items()}
        after: dict[str, float] = {}
        for reply in replies:
            member = self._carrier.member_of(reply.metadata.src_node_id)
            if member is None or reply.has_error():
                continue
            try:
                said = EvaluationReply.read(reply)
            except MessageRejected:
                continue
            if reply.metadata.reply_to_message_id in of_base:
                before[member] = (said.loss, min(said.rows, self._limits().max_weight))
            else:
                after[member] = said.loss
        judged = [(before[name][0], loss, before[name][1]) for name, loss in sorted(after.items()) if name in before]
        self._end(_judge(candidate, judged))
        return None

    def summary(self) -> None:
        """Flower would log this; the round's row in the database says more."""

    def _end(self, result: RoundResult) -> None:
        self.results.append(result)
        self._candidate = None
        if result.theta is not None:
            self.theta = result.theta
            self._base_version += 1

    def _task(self, theta: Parameters) -> LearningTask:
        plan = self._plan
        return LearningTask(
            round_number=self._round_number,
            base_version=self._base_version,
            graph=plan.graph,
            theta=theta,
            steps=plan.steps,
            learning_rate=plan.learning_rate,
            proximal=plan.proximal,
            settings=plan.settings,
            seed=plan.seed + self._round_number,
        )

    def _quorum(self, rejected: Sequence[Rejection]) -> Quorum:
        """Who declines takes no part, who is gone counts as silent, and who is caught is not wrong in the merge."""
        invited = len(self._invited)
        reasons = Counter({one.member: one.reason for one in rejected}.values())
        wrong = self._plan.wrong_members
        if wrong is None:
            caught = reasons.total() - reasons[DECLINED] - reasons[GONE]
            wrong = max(0, promised(invited - reasons[DECLINED]) - caught)
        share = math.ceil(self._plan.quorum_share * invited)
        return Quorum(max(self._plan.min_accepted, share, needed(wrong)), wrong)

    def _parts(self, updates: Sequence[Update]) -> Sequence[Update]:
        """The same updates with what is merged of them at this level, each read when it is asked for."""

        def part(place: int) -> Update:
            update = updates[place]
            return replace(update, delta=self._plan.part(update.delta))

        return ReadLater(len(updates), part)

    def _base(self) -> Base:
        return Base(self._base_version, self.theta.size)

    def _limits(self) -> Limits:
        return self._plan.limits

    def _note(self, reply: Message) -> None:
        """Judge a training reply alone and have it remembered; once a member."""
        member = self._carrier.member_of(reply.metadata.src_node_id)
        known = member in self._said or member in self._rejected
        if member is None or known or reply.metadata.message_type != TRAIN:
            return
        self._recorder.note_condition(member, MemberCondition.read(reply))
        answer = self._read(member, reply)
        if isinstance(answer, Rejection):
            self._rejected[member] = answer
            self._recorder.note_rejection(answer)
        else:
            self._said[member] = answer.said
            self._recorder.note_answer(answer, answer.update.delta.nbytes)
            for record in reply.content.array_records.values():
                record.clear()  # what held it is a cycle, which the collector of a service rarely looks for
            reply.content = RecordDict()  # Flower holds every reply until the last has come

    def _read(self, member: str, reply: Message) -> Answer | Rejection:
        if reply.has_error():
            return Rejection(member, self._carrier.reason_of(reply.error), reply.error.reason or "no reason given")
        try:
            said = TrainingReply.read(reply)
        except MessageRejected as error:
            return Rejection(member, error.reason, str(error))
        return judge_alone(member, said, self._base(), self._limits())


def judge_alone(member: str, said: TrainingReply, base: Base, limits: Limits) -> Answer | Rejection:
    """Judge what a member says it has learnt, before it stands beside the others."""
    update = validate(Update(member, said.base_version, said.delta, said.weight), base, limits)
    if isinstance(update, Rejection):
        return update
    losses = (said.loss_before, said.loss_after)
    if not all(math.isfinite(loss) and loss >= 0 for loss in losses) or said.held_back_rows < 1:
        return Rejection(member, "not_finite", f"losses {losses} over {said.held_back_rows} rows cannot be used")
    rows = min(said.held_back_rows, int(limits.max_weight))
    return Answer(update, Said(said.loss_before, said.loss_after, rows))


def digest_of(theta: Parameters) -> str:
    """Name parameters by their bytes."""
    return hashlib.sha256(np.ascontiguousarray(theta, "<f4").tobytes()).hexdigest()


def run_rounds(carrier: Carrier, strategy: MergeStrategy, *, rounds: int, deadline_s: float) -> list[RoundResult]:
    """Run rounds as an ordinary Flower `ServerApp`; each of its two questions may take `deadline_s`."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: object) -> None:
        arrays = ArrayRecord({"theta": Array(strategy.theta)})
        strategy.start(grid=grid, initial_arrays=arrays, num_rounds=rounds, timeout=deadline_s)

    before = len(strategy.results)
    app(carrier, new_context(SERVER_NODE_ID, {}))
    return strategy.results[before:]


def _judge(candidate: RoundResult, judged: list[tuple[float, float, float]]) -> RoundResult:
    """Decide on (loss before, loss now, rows) of the members that answered."""
    c = candidate
    if not judged:
        text = "no member judged the merged parameters"
        return replace(c, theta=None, void=text)
    before = _mean((loss, rows) for loss, _, rows in judged)
    after = _mean((loss, rows) for _, loss, rows in judged)
    metrics = {**c.metrics, "loss_before": before, "loss_after": after, "judges": float(len(judged))}
    if after > before * WORSE_THAN + TINY_LOSS:
        text = f"loss on held-back rows rose from {before:.4g} to {after:.4g}, at most {WORSE_THAN:g} times allowed"
        return replace(c, theta=None, void=text, metrics=metrics, worse=True)
    return replace(c, metrics=metrics)


def _mean(weighted: Iterable[tuple[float, float]]) -> float:
    pairs = list(weighted)
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else 0.0
