"""Broker, gateways, a site and an enterprise that learn, each a process to be killed; and what must hold afterwards."""

import contextlib
import itertools
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aggregator.learning.strategy import digest_of
from aggregator.registry import KEPT_RELEASES
from aggregator.release_making import first_release
from aggregator.settings import AggregatorSettings
from gateway_agent.personal_parameters import PersonalShelf
from schemas.database import open_database, sqlite_url
from schemas.release import read_release_bundle, read_release_folder
from schemas.settings import load_settings
from schemas.signing import KeyRing
from schemas.site_tables import learning_round, release, rollout, round_update, site_offer, waiting_update
from tests.support.brokers import BrokerServer, ServiceProcess, embedded_broker, mosquitto_broker
from tests.support.faults.learning_agent import ASK_TO_KILL, KILL_AT, digest_of_own
from tests.support.learning import CREATED_AT_US, GRAPHS, People, SmallGateway, healthy_rows, wait_until

SITE, ENTERPRISE = "site-a", "fleet"
GATEWAYS = ("gw-1", "gw-2", "gw-3")
IN_A_PROCESS = "gw-3"  # the others live in the test's own
RULE = "ditto_step"  # gateways keep something for themselves, too
DIES_WITHIN_S = 120.0  # of a machine that is busy with other things
AT_REST_WITHIN_S = 180.0


class LearningPlant:
    """Settings, keys and running parts of three tiers on one broker."""

    def __init__(self, folder: Path, broker: BrokerServer, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.broker = broker
        self._stack = stack
        people = People(
            [(SITE, "site"), (ENTERPRISE, "enterprise"), ("product", "releaser"), *((g, "gateway") for g in GATEWAYS)]
        )
        first = first_release(GRAPHS, people["product"], created_at_us=CREATED_AT_US, seed=1, rule=RULE)
        first.save(folder / "first")
        people.keys.save(folder / "keys.toml")
        for name in (SITE, ENTERPRISE, *GATEWAYS):
            people[name].save(folder / f"{name}.key")
            (folder / f"{name}.broker.json").write_text(broker.settings_for(name).model_dump_json())
        for seed, name in enumerate(GATEWAYS):
            if name != IN_A_PROCESS:
                gateway = SmallGateway(
                    name, SITE, broker.settings_for(name), people[name], people.keys, folder / name, first,
                    partial(healthy_rows, seed),
                ).start()  # fmt: skip
                stack.callback(gateway.stop)
        self._running: dict[str, ServiceProcess] = {}
        self._ready: list[ServiceProcess] = []

    def start(
        self, name: str, *, kill_at: str = "", learns: bool = True, told: Mapping[str, str] | None = None
    ) -> ServiceProcess:  # fmt: skip
        """Start a part, again after it was killed; with `learns` off a site only ends what was begun.

        Args:
            name: Which.
            kill_at: At which moments something is to die.
            learns: Whether a site begins rounds.
            told: Further environment.
        """
        if name in GATEWAYS:
            command = ["tests.support.faults.learning_agent", "gateway", name, str(self.folder)]
        else:
            command = ["tests.support.faults.learning_agent", "aggregator", str(self._settings(name, learns=learns))]
        process = ServiceProcess(self.folder, *command, environment={KILL_AT: kill_at, **(told or {})})
        self._stack.callback(self._end, process)
        self._running[name] = process
        return process

    def wait_ready(self) -> None:
        """Return once every part that was started has opened what it needs; on a busy machine that takes a while."""
        for process in self._running.values():
            if process.process.poll() is None and process not in self._ready:
                process.wait_notice("READY=1", DIES_WITHIN_S)
                self._ready.append(process)

    def kill(self, names: Sequence[str]) -> None:
        """All of them at once: first every signal, then every wait."""
        for name in names:
            if name == "broker":
                assert self.broker.process is not None
                self.broker.process.kill()
            else:
                self._running[name].process.kill()
        for name in names:
            (self.broker if name == "broker" else self._running[name]).kill()

    def live_until(self, name: str, kill_at: str, told: Mapping[str, str] | None = None) -> None:
        """Start a part and let it live until it kills itself."""
        process = self.start(name, kill_at=kill_at, told=told)
        assert wait_until(lambda: process.process.poll() is not None, DIES_WITHIN_S), f"{name} never came to {kill_at}"
        ended = process.process.returncode
        assert ended == -9, f"{name} at {kill_at} ended with {ended}:\n{process.log.read_text()[-3000:]}"

    def kill_broker_at(self, name: str, moments: Sequence[str]) -> None:
        """Start a part and let it live on, while the broker is killed, and started again, at moments of that part."""
        asks = self.folder / f"{name}.asks"
        process = self.start(name, kill_at=",".join(moments), told={ASK_TO_KILL: str(asks)})
        for moment in moments:
            assert wait_until(asks.exists, DIES_WITHIN_S), f"{name} never came to {moment}"
            self.broker.kill()
            asks.unlink()
            self.broker.start()
        assert process.process.poll() is None, process.log.read_text()[-3000:]

    def come_to_rest(self) -> None:
        """Nothing is killed any more, the site begins nothing new: what was begun ends, what was offered is merged."""
        for name in (SITE, ENTERPRISE, IN_A_PROCESS):
            running = self._running.get(name)
            if running is not None and running.process.poll() is None and name != SITE:
                continue
            if running is not None:
                running.kill()
            self.start(name, learns=False)
        self.wait_ready()
        assert wait_until(self._at_rest, AT_REST_WITHIN_S), self._state()

    def check(self) -> int:
        """Every promise of a durable round; how many rounds of the site were released."""
        for name in (SITE, ENTERPRISE):
            self._check_rounds(name)
        self._check_gateway(IN_A_PROCESS)
        offered = [range(row["first_round"], row["last_round"] + 1) for row in self.rows(SITE, site_offer)]
        released = [row["round_id"] for row in self.rows(SITE, learning_round) if row["state"] == "released"]
        assert sum(row["rounds"] for row in self.rows(SITE, site_offer)) == len(released)
        assert sorted(number for covered in offered for number in covered if number in released) == released
        merged = self.rows(ENTERPRISE, waiting_update)
        assert len({row["key"] for row in merged}) == len(merged) == len(offered), "each offer once"
        assert sum(row["metrics"]["rounds"] for row in merged) == len(released), "no round lost, none twice"
        took = {row["round_id"]: row["state"] for row in self.rows(ENTERPRISE, learning_round)}
        assert all(row["state"] == "merged" and took[row["round_id"]] == "released" for row in merged)
        return len(released)

    def _check_gateway(self, name: str) -> None:
        """Asked the same again it has given the same, and learnt its own from it once; the site merged that."""
        own: dict[str, set[tuple[str, str]]] = defaultdict(set)
        sent: dict[int, set[str]] = defaultdict(set)
        lines = [json.loads(line) for line in (self.folder / f"{name}.journal").read_text().splitlines()]
        for said in lines:
            if "task" in said:
                own[said["task"]].add((said["before"], said["now"]))
            else:
                sent[said["round"]].add(said["update"])
        assert own
        assert {len(once) for once in (*own.values(), *sent.values())} == {1}
        tasks = [said for said in lines if "task" in said]
        for last, following in itertools.pairwise(tasks):
            assert following["before"] in {last["before"], last["now"]}
        kept = PersonalShelf(self.folder / name).fitting(read_release_folder(self.folder / "first", KeyRing([])))
        assert digest_of_own(kept) == tasks[-1]["now"]
        ever_sent = set().union(*sent.values())  # a late one counts in the round after its own
        for update in self.rows(SITE, round_update):
            if update["member"] == name and update["accepted"]:
                assert update["digest"] in ever_sent

    def _check_rounds(self, name: str) -> None:
        """Ended with a release whose parameters are those merged, the same in every life; or void with its reason."""
        journal: dict[int, set[str]] = defaultdict(set)
        path = self.folder / f"{name}.journal"
        for line in path.read_text().splitlines() if path.exists() else ():
            said = json.loads(line)
            journal[said["round"]].add(said["digest"])
        releases = {row["release_version"]: row for row in self.rows(name, release)}
        accepted = defaultdict(list)
        for update in self.rows(name, round_update):
            assert update["delta"] is None, "an ended round keeps no update"
            accepted[update["round_id"]].append(update["accepted"])
        for row in self.rows(name, learning_round):
            number = row["round_id"]
            assert row["state"] in {"released", "void"}, row
            assert len(journal[number]) <= 1, f"round {number} of {name} was merged to {journal[number]}"
            if row["state"] == "void":
                assert row["text"]
                continue
            if row["release_version"] not in releases and row["release_version"] <= max(releases) - KEPT_RELEASES:
                continue  # forgotten since, as old ones are
            made = read_release_bundle(releases[row["release_version"]]["bundle"], KeyRing([]))
            assert {row["digest"]} == journal[number] == {digest_of(made.parameters())}
            assert made.manifest.base_version == row["base_version"]
            assert any(accepted[number])

    def rows(self, name: str, table: sa.Table) -> list[sa.RowMapping]:
        engine = open_database(sqlite_url(self.folder / f"{name}.db"))
        try:
            with engine.connect() as connection:
                return list(connection.execute(sa.select(table).order_by(*table.primary_key)).mappings())
        finally:
            engine.dispose()

    def _at_rest(self) -> bool:
        ended = all(
            row["state"] in {"released", "void"}
            for name in (SITE, ENTERPRISE)
            for row in self.rows(name, learning_round)
        )
        told = all(row["state"] == "stored" for row in self.rows(SITE, site_offer))
        runs = {(row["gateway"], row["state"]) for row in self._last_rollout()}
        if runs != {(name, "running") for name in GATEWAYS}:
            return False
        return ended and told and all(row["state"] == "merged" for row in self.rows(ENTERPRISE, waiting_update))

    def _last_rollout(self) -> list[sa.RowMapping]:
        newest = max(row["release_version"] for row in self.rows(SITE, release))
        return [row for row in self.rows(SITE, rollout) if row["release_version"] == newest]

    def _state(self) -> dict[str, Any]:
        tables = {SITE: (learning_round, site_offer), ENTERPRISE: (learning_round, waiting_update)}
        gateways = {"gateways": [(row["gateway"], row["state"], row["text"]) for row in self._last_rollout()]}
        return gateways | {
            f"{name} {table.name}": [
                (row["state"], row.get("text", row.get("reason"))) for row in self.rows(name, table)
            ]
            for name, all_of_it in tables.items()
            for table in all_of_it
        }

    def _settings(self, name: str, *, learns: bool) -> Path:
        reached = self.broker.settings_for(name)
        broker = (
            f'port = {reached.port}\nusername = "{name}"\npassword_file = "{reached.password_file}"\nkeepalive_s = 5\n'
        )
        is_site = name == SITE
        text = (
            f'name = "{name}"\nrole = "{"site" if is_site else "enterprise"}"\n'
            f'database_url = "{sqlite_url(self.folder / f"{name}.db")}"\n'
            f'signing_key_file = "{self.folder / f"{name}.key"}"\nkeys_file = "{self.folder / "keys.toml"}"\n'
            f"[broker]\n{broker}"
            f"[learning]\nenabled = {str(learns or not is_site).lower()}\nsteps = 5\ndeadline_s = 20.0\n"
            f"round_interval_s = 1.0\nmin_members = {len(GATEWAYS) if is_site else 1}\nbuffer_sites = 1\n"
            "max_staleness = 40\n[rollout]\nstaged = false\n"
        )
        if is_site:
            text += f'[uplink]\nenterprise = "{ENTERPRISE}"\nrepeat_s = 1.0\n[uplink.broker]\n{broker}'
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        load_settings(AggregatorSettings, path, {})
        return path

    @staticmethod
    def _end(process: ServiceProcess) -> None:
        if process.process.poll() is None:
            process.kill()
        process.__exit__()


@contextlib.contextmanager
def learning_plant(folder: Path) -> Iterator[LearningPlant]:
    """A plant on mosquitto, which forgets everything when killed, where it is installed; else on the other."""
    kind = mosquitto_broker if shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/bin") else embedded_broker
    with kind([SITE, ENTERPRISE, *GATEWAYS]) as broker, contextlib.ExitStack() as stack:
        yield LearningPlant(folder, broker, stack)
