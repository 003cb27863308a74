"""This file knows the releases of a site or an enterprise: how merged parameters become one, and which is current."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator.database import writing
from aggregator.release_making import Level, Parameters, foreign_release, next_release
from aggregator.rollout_plan import Stage
from schemas.errors import ReleaseRejected
from schemas.release import EXPIRES, LIVES, PARAMETERS, SCORE, SPEC, TRAIN_STEP, VARIATION, Release, read_release_bundle
from schemas.signing import KeyRing, Signer
from schemas.site_tables import release as release_table
from schemas.site_tables import release_event as release_event_table
from schemas.variation import Variation

KEPT_RELEASES = 50  # older ones are of no use to anybody: a gateway goes back by one, not by fifty
ROLLED_BACK = "rolled_back"  # the rule of a release that has the parameters of an earlier one
IMPORTED = "imported"  # the rule of a release that was made elsewhere, and the first stage of its history
FLEET_PARAMETERS = "fleet_parameters"  # in what a site's release says of its merge: whose child it is
OWN_NETWORK = "own_network"  # there, and 1, where the site's people have given it another network than the fleet's
FLEET_VERSION = "fleet_version"  # in what it says of its data: the last of the fleet's that it has heard of
RENEWS = "renews"  # in what a release says of its merge: the one it is but for its number and its time
KEPT_HISTORY = 20  # times as many, of what happened to them: some hundred bytes each


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a release has come, as the registry has it.

    Attributes:
        version: Of the release.
        state: candidate | current | superseded | withdrawn.
        stage: See `aggregator.rollout_plan`; None before it has set out.
        share: In `staged`.
        since_us: When it came into this stage.
        paused: Whether a person has stopped it there.
        asked: What a person wants of it: action, actor, note.
        order: Gateways in the order in which they take it.
        brings_back: Whether it brings back what was good before: nobody but a person takes that back in turn.
        made_at_us: When it was signed.
        expires_at_us: Until when gateways take it; None is for ever.
    """

    version: int
    state: str
    stage: Stage | None
    share: float
    since_us: int
    paused: bool
    asked: dict[str, str] | None
    order: tuple[str, ...]
    brings_back: bool
    made_at_us: int
    expires_at_us: int | None


class Registry:
    """The releases in the database. One is current: in use on every gateway, or offered to it.

    Attributes:
        staged: Whether a new one is a candidate first, for `aggregator.rollout` to bring out; else current at once.
        valid_s: How long gateways may take what is made from now on; 0 is for ever.
    """

    def __init__(
        self, engine: Engine, signer: Signer, clock_us: Callable[[], int], *, staged: bool = False, valid_s: float = 0.0
    ) -> None:  # fmt: skip
        self._engine = engine
        self._signer = signer
        self._clock_us = clock_us
        self.staged = staged
        self.valid_s = valid_s

    def start_with(self, first: Release) -> Release:
        """Put a release into an empty registry, as it is; return the current one."""
        with writing(self._engine) as connection:
            if self._newest_row(connection) is None:
                self._insert(connection, first, "current", "everywhere")
        return self.current()

    def current(self) -> Release:
        """The release that runs, or is to run, on every gateway: the newest that was not withdrawn.

        Learning goes on from it while it is still on its way.

        Raises:
            ReleaseRejected: The registry is empty, or its row was damaged.
        """
        with self._engine.connect() as connection:
            return self._newest(connection)

    def release(self, version: int) -> Release | None:
        """One release by its version; None when it is not kept."""
        query = sa.select(release_table.c.bundle).where(release_table.c.release_version == version)
        with self._engine.connect() as connection:
            bundle = connection.execute(query).scalar()
        return None if bundle is None else read_release_bundle(bundle, KeyRing([]))

    def brings_network(self, version: int) -> bool:
        """Whether a release has another network than the last good one before it."""
        t = release_table.c
        good = (t.release_version < version) & t.state.in_(("current", "superseded"))
        query = sa.select(t.manifest).where((t.release_version == version) | good).order_by(t.release_version.desc())
        with self._engine.connect() as connection:
            found = connection.execute(query.limit(2)).scalars().all()
        return len({manifest["files"][SCORE]["sha256"] for manifest in found}) > 1

    def digest_of(self, version: int) -> str | None:
        """Digest of one release by its version; None when it is not kept."""
        query = sa.select(release_table.c.digest).where(release_table.c.release_version == version)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def graphs_of(self, digests: Iterable[str]) -> dict[str, str]:
        """Digest of a release -> sha256 of its training graph, of those that are kept here."""
        c = release_table.c
        query = sa.select(c.digest, c.manifest).where(c.digest.in_(sorted(digests)))
        with self._engine.connect() as connection:
            return {row.digest: row.manifest["files"][TRAIN_STEP]["sha256"] for row in connection.execute(query)}

    def publish(
        self,
        connection: Connection,
        parameters: Parameters,
        *,
        level: Level,
        data: Mapping[str, int],
        metrics: Mapping[str, float],
        merge: Mapping[str, str | int | float],
        above_version: int = 0,
        knowledge: Mapping[str, bytes] | None = None,
        learnt_on: int | None = None,
    ) -> Release:
        """Make the next release and make it current, or a candidate, within the caller's transaction.

        Its version is above every one here, and above `above_version`: a site that has lost its database must still
        get above what its gateways have in use, they take nothing older.

        Args:
            connection: The caller's.
            parameters: Theta, shape (P,), of the newest release's model.
            level: Whose it is.
            data: Counts of what it was learnt from.
            metrics: Losses on data held back.
            merge: How it came about.
            above_version: See above.
            knowledge: Files beside the model that change.
            learnt_on: The release that the parameters were learnt on, where it may have been replaced meanwhile.

        Raises:
            ReleaseRejected: The parameters cannot be released; with `reason` replaced: they were learnt on a release
                that another has replaced, by import or by a roll-back.
        """
        newest = self._newest(connection)
        if learnt_on is not None and newest.version != learnt_on:
            raise ReleaseRejected("replaced", f"release {newest.version} has replaced {learnt_on} since")
        now_us = self._clock_us()
        made = next_release(
            newest, parameters, self._signer, version=self._next_version(connection, above_version), level=level,
            created_at_us=now_us, data=self._dated(data, now_us), metrics=metrics, merge=merge, knowledge=knowledge,
        )  # fmt: skip
        self._bring_in(connection, made)
        return made

    def publish_foreign(
        self,
        connection: Connection,
        made: Release,
        *,
        level: Level,
        merge: Mapping[str, str | int | float],
        actor: str,
        fleet_version: int | None = None,
        above_version: int = 0,
    ) -> Release:
        """Make the next release of one that was made elsewhere: network, rule, levels and parameters are its own.

        What is known of healthy machines and of lives does not hang on the network: where it knows less of the ways in
        which healthy machines vary, or nothing of lives, what is known here stays.

        Args:
            connection: The caller's.
            made: The other release; `aggregator.release_import.check_runs` has passed it.
            level: Whose it is here.
            merge: How it came about.
            actor: Who brings it in, for its history.
            fleet_version: The enterprise's number of it; that of the newest release here when it is not the fleet's.
            above_version: As in `publish`.

        Raises:
            ReleaseRejected: Its files are too large together; with `reason` already_here: the newest release is it.
        """
        newest = self._newest(connection)
        if all(made.files.get(name) == newest.files.get(name) for name in (SCORE, TRAIN_STEP, SPEC, PARAMETERS)) and (
            made.manifest.levels == newest.manifest.levels and fleet_version is None
        ):
            raise ReleaseRejected(
                "already_here", f"release {newest.version}, the newest here, has the same graphs and parameters already"
            )
        heard = newest.manifest.data.get(FLEET_VERSION, 0) if fleet_version is None else fleet_version
        data = {name: count for name, count in made.manifest.data.items() if name != FLEET_VERSION}
        if level == "site" and (
            made.files[TRAIN_STEP] != newest.files[TRAIN_STEP] or OWN_NETWORK in newest.manifest.merge
        ):
            merge = {**merge, OWN_NETWORK: 1}
        now_us = self._clock_us()
        ours = foreign_release(
            made, self._signer, version=self._next_version(connection, above_version), level=level,
            created_at_us=now_us, data=self._dated(data | ({FLEET_VERSION: heard} if heard else {}), now_us),
            merge=merge, knowledge=_better_known(newest, made),
        )  # fmt: skip
        self._bring_in(connection, ours)
        text = f"{ours.manifest.family}, {ours.manifest.parameter_count} parameters, made as release {made.version}"
        connection.execute(
            sa.insert(release_event_table).values(
                release_version=ours.version, at_us=self._clock_us(), stage=IMPORTED, actor=actor, text=text,
                evidence={},
            )
        )  # fmt: skip
        return ours

    def standings(self) -> list[Standing]:
        """Candidates and the current release, oldest first."""
        columns = [c for c in release_table.c if c.name != "bundle"]
        query = sa.select(*columns).where(release_table.c.state.in_(("candidate", "current")))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(release_table.c.release_version)).all()
        return [
            Standing(
                row.release_version, row.state, row.stage, row.stage_share or 0.0, row.stage_at_us or 0, row.paused,
                row.asked, tuple((row.evidence or {}).get("order", ())),
                _brings_back(row.manifest.get("merge", {})), row.created_at_us,
                row.manifest.get("data", {}).get(EXPIRES),
            )
            for row in rows
        ]  # fmt: skip

    def set_out(self, version: int, order: Sequence[str]) -> None:
        """Begin to bring a candidate out; candidates before it that have not begun are passed over."""
        t = release_table.c
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(release_table)
                .where(t.state == "candidate", t.release_version < version, t.stage.is_(None))
                .values(state="passed_over", stage_text=f"passed over: release {version} came before it set out")
            )
            self._enter(connection, version, "shadow", 0.0, "learnt, and not tried yet", {}, order=order)

    def enter(
        self, version: int, stage: Stage, share: float, text: str, figures: Mapping[str, float], *, actor: str
    ) -> None:
        """Write down the next stage of a release; the last one makes it current."""
        with writing(self._engine) as connection:
            if stage == "everywhere":
                self._supersede(connection)
                connection.execute(
                    sa.update(release_table).where(release_table.c.release_version == version).values(state="current")
                )
            self._enter(connection, version, stage, share, text, figures, actor=actor)

    def note(self, version: int, text: str, figures: Mapping[str, float]) -> None:
        """Write down what a release waits for."""
        with writing(self._engine) as connection:
            evidence = self._evidence(connection, version)
            connection.execute(
                sa.update(release_table)
                .where(release_table.c.release_version == version)
                .values(stage_text=text, evidence={**evidence, "figures": dict(figures)})
            )

    def answered(self, version: int) -> None:
        """What a person asked of a release has been done, or cannot be."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(release_table).where(release_table.c.release_version == version).values(asked=None)
            )

    def withdraw(
        self, version: int, text: str, figures: Mapping[str, float], *, actor: str, above_version: int = 0,
        level: Level | None = None,
    ) -> Release | None:  # fmt: skip
        """Take a release back, and candidates that were learnt on it; where another takes its place, all candidates.

        Where it may run already, the parameters and knowledge of the last good release go out to every gateway as a
        new release: versions only go up, so what was withdrawn cannot come back by replay. Taking that one back in turn
        goes to the one before the good one.

        Args:
            version: Of the release to take back.
            text: Why.
            figures: What that was decided on.
            actor: Who decided.
            above_version: Highest version that any gateway says it runs.
            level: Whose the one that comes back is; that of the good one if None.

        Returns:
            The release that brings the good one back; None where the bad one ran nowhere, or nothing is before it.
        """
        t = release_table.c
        with writing(self._engine) as connection:
            row = connection.execute(sa.select(t.state, t.stage, t.manifest).where(t.release_version == version)).one()
            merge = row.manifest.get("merge", {})
            before_version = merge["to"] if merge.get("rule") == ROLLED_BACK else merge.get(RENEWS, version)
            good = connection.execute(
                sa.select(t.bundle)
                .where(t.release_version < before_version, t.state.in_(("current", "superseded")))
                .order_by(t.release_version.desc())
                .limit(1)
            ).scalar()
            if row.state == "current" and good is None:
                return None
            learnt = f"learnt on release {version}, which was withdrawn"
            self._drop_candidates(connection, _learnt_on(connection, version), learnt)
            connection.execute(sa.update(release_table).where(t.release_version == version).values(state="withdrawn"))
            self._enter(connection, version, "withdrawn", 0.0, text, figures, actor=actor)
            if row.stage in {None, "shadow"} or good is None:
                return None
            before = read_release_bundle(good, KeyRing([]))
            return self._again(
                connection, before, f"release {before.version} again, because {version} was withdrawn: {text}",
                level=level, above_version=above_version, actor=actor,
                merge={
                    **{n: said for n, said in before.manifest.merge.items() if n in {FLEET_PARAMETERS, OWN_NETWORK}},
                    "rule": ROLLED_BACK, "to": before.version, "from": version, "reason": text[:200],
                },
            )  # fmt: skip

    def renew(self, version: int, *, above_version: int = 0) -> Release | None:
        """Have the release in use go out anew with time ahead of it; nothing else of it changes but its number.

        What is on its way meanwhile could not go above it, and is dropped.

        Args:
            version: Of the release in use.
            above_version: Highest version that any gateway says it runs.

        Returns:
            The new one; None where a round or a person has replaced `version` meanwhile.
        """
        t = release_table.c
        with writing(self._engine) as connection:
            query = sa.select(t.bundle).where(t.release_version == version, t.state == "current")
            bundle = connection.execute(query).scalar()
            if bundle is None:
                return None
            before = read_release_bundle(bundle, KeyRing([]))
            merge = before.manifest.merge
            return self._again(
                connection, before, f"release {before.version} again, before its time is over",
                above_version=above_version, merge={**merge, RENEWS: merge.get(RENEWS, before.version)},
            )  # fmt: skip

    def _again(
        self, connection: Connection, before: Release, why: str, *, merge: Mapping[str, str | int | float],
        above_version: int, level: Level | None = None, actor: str = "rollout",
    ) -> Release:  # fmt: skip
        """Make a release that was in use current once more, above every other, and on every gateway at once."""
        now_us = self._clock_us()
        made = next_release(
            before, before.parameters(), self._signer, version=self._next_version(connection, above_version),
            level=level or before.manifest.level, created_at_us=now_us, data=self._dated(before.manifest.data, now_us),
            metrics=before.manifest.metrics, merge=merge,
        )  # fmt: skip
        passed = f"release {made.version} had to go above it; bring it in again"
        newer = sa.select(release_table.c.release_version).where(release_table.c.state == "candidate")
        self._drop_candidates(connection, connection.execute(newer).scalars(), passed)
        self._supersede(connection)
        self._insert(connection, made, "current", None)
        self._enter(connection, made.version, "everywhere", 0.0, why, {}, actor=actor)
        return made

    def _dated(self, data: Mapping[str, int], now_us: int) -> dict[str, int]:
        """Counts of a release that is made now, with the end of its time."""
        counts = {name: count for name, count in data.items() if name != EXPIRES}
        return counts | ({EXPIRES: now_us + round(self.valid_s * 1e6)} if self.valid_s else {})

    @staticmethod
    def _drop_candidates(connection: Connection, versions: Iterable[int], text: str) -> None:
        t = release_table.c
        connection.execute(
            sa.update(release_table)
            .where(t.state == "candidate", t.release_version.in_(sorted(versions)))
            .values(state="withdrawn", stage_text=text)
        )

    def _enter(
        self, connection: Connection, version: int, stage: Stage, share: float, text: str,
        figures: Mapping[str, float], *, actor: str = "rollout", order: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        now_us = self._clock_us()
        evidence = self._evidence(connection, version)
        evidence |= {"figures": dict(figures)} | ({} if order is None else {"order": list(order)})
        connection.execute(
            sa.update(release_table)
            .where(release_table.c.release_version == version)
            .values(
                stage=stage, stage_share=share, stage_at_us=now_us, stage_text=text, asked=None, evidence=evidence,
            )
        )  # fmt: skip
        connection.execute(
            sa.insert(release_event_table).values(
                release_version=version, at_us=now_us, stage=stage, actor=actor, text=text, evidence=dict(figures)
            )
        )

    def _bring_in(self, connection: Connection, made: Release) -> None:
        if self.staged:
            self._insert(connection, made, "candidate", None)
        else:
            self._supersede(connection)
            self._insert(connection, made, "current", "everywhere")
        self._forget_old(connection, made.version)

    @staticmethod
    def _evidence(connection: Connection, version: int) -> dict[str, Any]:
        query = sa.select(release_table.c.evidence).where(release_table.c.release_version == version)
        return dict(connection.execute(query).scalar() or {})

    @staticmethod
    def _supersede(connection: Connection) -> None:
        connection.execute(
            sa.update(release_table).where(release_table.c.state == "current").values(state="superseded")
        )

    @staticmethod
    def _next_version(connection: Connection, above_version: int) -> int:
        newest = connection.execute(sa.select(sa.func.max(release_table.c.release_version))).scalar_one()
        return int(max(newest, above_version)) + 1

    @staticmethod
    def _forget_old(connection: Connection, version: int) -> None:
        t = release_table.c
        connection.execute(
            sa.delete(release_table).where(
                t.release_version <= version - KEPT_RELEASES,
                t.state != "current",
                (t.state != "candidate") | t.stage.is_(None),
            )
        )
        connection.execute(
            sa.delete(release_event_table).where(
                release_event_table.c.release_version <= version - KEPT_HISTORY * KEPT_RELEASES
            )
        )

    def _insert(self, connection: Connection, release: Release, state: str, stage: Stage | None) -> None:
        connection.execute(
            sa.insert(release_table).values(
                release_version=release.version,
                digest=release.digest,
                level=release.manifest.level,
                state=state,
                created_at_us=release.manifest.created_at_us,
                manifest=release.manifest.model_dump(mode="json"),
                bundle=release.bundle(),
                stage=stage,
                stage_at_us=None if stage is None else self._clock_us(),
            )
        )

    def _newest(self, connection: Connection) -> Release:
        bundle = self._newest_row(connection)
        if bundle is None:
            raise ReleaseRejected("none", "the registry is empty; start_with comes first")
        return read_release_bundle(bundle, KeyRing([]))

    @staticmethod
    def _newest_row(connection: Connection) -> bytes | None:
        query = sa.select(release_table.c.bundle).where(release_table.c.state.in_(("candidate", "current")))
        return connection.execute(query.order_by(release_table.c.release_version.desc()).limit(1)).scalar()


def _brings_back(merge: Mapping[str, object]) -> bool:
    return merge.get("rule") == ROLLED_BACK or RENEWS in merge


def _learnt_on(connection: Connection, version: int) -> set[int]:
    """Releases that were learnt on this one, or on those; not what was brought in from elsewhere since."""
    t = release_table.c
    query = sa.select(t.release_version, t.manifest).where(t.release_version > version).order_by(t.release_version)
    found = {version}
    for row in connection.execute(query):
        if row.manifest.get("base_version") in found:
            found.add(row.release_version)
    return found - {version}


def _better_known(newest: Release, made: Release) -> dict[str, bytes]:
    """Files of the newest release that say more than those of another, which may lack them."""
    better: dict[str, bytes] = {}
    if VARIATION in newest.files:
        theirs = Variation.unpack(made.files[VARIATION]).sessions if VARIATION in made.files else 0.0
        if Variation.unpack(newest.files[VARIATION]).sessions > theirs:
            better[VARIATION] = newest.files[VARIATION]
    if LIVES in newest.files and LIVES not in made.files:
        better[LIVES] = newest.files[LIVES]
    return better
