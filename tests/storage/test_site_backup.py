"""A site's database comes back from a back-up whole, and what gateways had been acknowledged for since is told."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from aggregator import command
from aggregator.backup import back_up, restore
from aggregator.database import alembic_config, current_version, migrate, newest_version, open_current
from aggregator.errors import BackupFailed
from aggregator.historian import Arrived, Historian
from aggregator.lost_records import missing_below
from aggregator.settings import AggregatorSettings
from aggregator.stream_order import StreamOrder
from gateway_agent.batch import NORMAL, Batch
from gateway_agent.settings import StoreSettings
from gateway_agent.store import Store
from schemas import site_tables as tables
from schemas.archive import ArchiveRejected
from schemas.database import open_database, sqlite_url
from schemas.errors import DatabaseNotReady
from schemas.messages import GatewayStatus, Numbered, RecordBatch, decode_any
from schemas.settings import BrokerSettings
from tests.storage.test_migrations import OLDER, config_that_fails
from tests.support import gateway_talk as talk
from tests.support.postgres import postgres_server

NOW_US = 1_800_000_000_000_000
NEWEST = newest_version(alembic_config())


@pytest.fixture
def settings(tmp_path: Path) -> AggregatorSettings:
    (tmp_path / "keys").mkdir()
    for name in ("signing.key", "keys.toml", "password"):
        (tmp_path / "keys" / name).write_text(f"content of {name}")
    return AggregatorSettings(
        name="plant-a", folder=tmp_path / "var", signing_key_file=tmp_path / "keys" / "signing.key",
        keys_file=tmp_path / "keys" / "keys.toml",
        broker=BrokerSettings(username="plant-a", password_file=tmp_path / "keys" / "password"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres(server: str, settings: AggregatorSettings) -> Iterator[AggregatorSettings]:
    """Settings of a site on an empty database of PostgreSQL."""
    yield settings.model_copy(update={"database_url": server})
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        names = connection.scalars(sa.text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before_%'")).all()
        for name in ("public", *names):
            connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(StoreSettings(folder=tmp_path / "gateway", min_free_bytes=0, outbox_bytes=1 << 20))
    yield opened
    opened.close()


class Site:
    """A historian on the database of some settings."""

    def __init__(self, settings: AggregatorSettings) -> None:
        self.engine = open_current(settings.database)
        self.historian = Historian(self.engine, now_us=lambda: NOW_US)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    def hear(self, store: Store) -> None:
        """Take in what waits in an outbox, and acknowledge it."""
        waiting = store.waiting(1000)
        records = tuple(Numbered(sequence=w.sequence, record=decode_any(w.body)) for w in waiting)  # type: ignore[arg-type]
        for ack in self.historian.store([Arrived(RecordBatch(gateway="gw-1", boot=store.boot, records=records))]):
            store.forget(ack.through, ack.also)

    def status(self, store: Store, *, retained: bool = False) -> None:
        said = talk.status().model_copy(update={"boot": store.boot, "outbox_first": store.lowest_waiting()})
        assert isinstance(said, GatewayStatus)
        self.historian.store([Arrived(said, retained)])

    def gaps(self) -> list[tuple[str, str, int, int, int]]:
        return [(one.what, one.source, one.first, one.last, one.count) for one in rows(self.engine, tables.gap)]

    def through(self) -> int:
        (row,) = rows(self.engine, tables.uplink)
        return int(row.through)


def rows(engine: Engine, table: sa.Table) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table)))


def told(settings: AggregatorSettings) -> list[int]:
    """Sequences of the health records in a site's database."""
    engine = open_database(settings.database)
    found = sorted(row.sequence for row in rows(engine, tables.health))
    engine.dispose()
    return found


def record(store: Store, *numbers: int) -> None:
    store.commit(Batch(NOW_US, records=[(NORMAL, talk.health(n)) for n in numbers]))


def test_backup_beside_a_busy_historian_holds_all_it_had_acknowledged(
    settings: AggregatorSettings, tmp_path: Path
) -> None:
    stop, started = threading.Event(), threading.Event()
    with Site(settings) as site:
        acknowledged: list[int] = []

        def work() -> None:
            n = 0
            while not stop.is_set():
                (ack,) = site.historian.store([Arrived(talk.healths(n))])
                acknowledged.append(ack.through)
                n += 1
                if n == 20:
                    started.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert started.wait(60)
        before = acknowledged[-1]
        manifest = back_up(settings, tmp_path / "site.tar", now_us=NOW_US)
        stop.set()
        thread.join()
    assert (manifest.kind, manifest.name, manifest.database, manifest.keys) == ("site", "plant-a", "sqlite", False)
    restore(settings, tmp_path / "site.tar", now_us=NOW_US, replace=True)
    stored = told(settings)
    assert stored == list(range(len(stored)))
    assert before < len(stored) <= len(acknowledged)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_was_acknowledged_after_the_backup_becomes_a_gap_and_everything_else_goes_on(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path, store: Store
) -> None:
    settings: AggregatorSettings = request.getfixturevalue("settings" if kind == "sqlite" else "postgres")
    with Site(settings) as site:
        record(store, *range(5))
        site.hear(store)
        back_up(settings, tmp_path / "site.tar", now_us=NOW_US)
        record(store, *range(5, 9))
        site.hear(store)
    said = restore(settings, tmp_path / "site.tar", now_us=NOW_US + 1, replace=True)
    assert "what gateways were acknowledged for since is gone" in said
    with Site(settings) as site:
        assert told(settings) == [0, 1, 2, 3, 4]
        record(store, 9, 10)
        site.hear(store)
        assert (site.through(), site.gaps()) == (4, [])
        site.status(store, retained=True)
        assert site.gaps() == []
        record(store, 11)  # still on its way when the status comes
        site.status(store)
        assert site.gaps() == [("records", "site", 5, 8, 4)]
        assert site.through() == 10
        site.hear(store)
        site.status(store)
        assert (site.through(), len(site.gaps())) == (11, 1)
        assert told(settings) == [0, 1, 2, 3, 4, 9, 10, 11]
        assert rows(site.engine, tables.uplink_ahead) == []
        (row,) = rows(site.engine, tables.audit)
        assert (row.action, "restored from the back-up of 2027-01-15" in row.text) == ("restore", True)


def test_loss_shows_though_the_gateway_has_nothing_new_to_say(
    settings: AggregatorSettings, tmp_path: Path, store: Store
) -> None:
    with Site(settings) as site:
        back_up(settings, tmp_path / "site.tar", now_us=NOW_US)
        record(store, *range(3))
        site.hear(store)
    restore(settings, tmp_path / "site.tar", now_us=NOW_US, replace=True)
    with Site(settings) as site:
        site.status(store)
        assert (site.gaps(), site.through()) == ([("records", "site", 0, 2, 3)], 2)


def test_what_the_gateway_itself_gave_up_is_told_once_by_itself(settings: AggregatorSettings, store: Store) -> None:
    with Site(settings) as site:
        record(store, 0)
        site.hear(store)
        for start in range(1, 4000, 500):
            record(store, *range(start, start + 500))
        site.status(store)  # before any of its records, as after an outage
        assert site.gaps() == []
        while store.outbox_state()[0]:
            site.hear(store)
        site.status(store)
        assert {gap[:2] for gap in site.gaps()} == {("records", "outbox")}


def test_record_that_comes_together_with_the_status_is_not_lost(settings: AggregatorSettings, store: Store) -> None:
    """What was acknowledged before a crash may come again from the broker in one batch with a newer status."""
    with Site(settings) as site:
        said = talk.status().model_copy(update={"boot": 7, "outbox_first": 3})
        (ack,) = site.historian.store([Arrived(said), Arrived(talk.healths(0, 1, 2))])
        assert (ack.through, site.gaps(), told(settings)) == (2, [], [0, 1, 2])


@given(
    st.integers(-1, 12), st.frozensets(st.integers(0, 20)), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)))
)
def test_missing_numbers_are_those_that_nobody_has(
    through: int, stored: frozenset[int], given_up: list[tuple[int, int]]
) -> None:
    stream = StreamOrder(through, {n for n in stored if n > through}, [(first, first + n) for first, n in given_up])
    covered = {n for first, last in stream.given_up for n in range(first, last + 1)} | stream.ahead
    for first_waiting in (0, 7, 15, 30):
        missing = missing_below(stream, first_waiting)
        naive = [n for n in range(through + 1, first_waiting) if n not in covered]
        assert [n for first, last in missing for n in range(first, last + 1)] == naive


def test_nothing_is_touched_by_what_cannot_be_restored(settings: AggregatorSettings, tmp_path: Path) -> None:
    with Site(settings) as site:
        site.historian.store([Arrived(talk.healths(0))])
        back_up(settings, tmp_path / "site.tar", now_us=NOW_US)
        site.historian.store([Arrived(talk.healths(1))])
    content = (tmp_path / "site.tar").read_bytes()
    (tmp_path / "bad.tar").write_bytes(content.replace(b"pump-07", b"pump-08", 1))
    with pytest.raises(ArchiveRejected, match="--replace"):
        restore(settings, tmp_path / "site.tar", now_us=NOW_US)
    with pytest.raises(ArchiveRejected, match="damaged"):
        restore(settings, tmp_path / "bad.tar", now_us=NOW_US, replace=True)
    with pytest.raises(ArchiveRejected, match="is of site 'plant-a', the settings are of enterprise"):
        restore(settings.model_copy(update={"role": "enterprise"}), tmp_path / "site.tar", now_us=NOW_US, replace=True)
    on_postgres = settings.model_copy(update={"database_url": "postgresql+psycopg://nobody@/none"})
    with pytest.raises(ArchiveRejected, match="holds a database of sqlite, database_url names postgresql"):
        restore(on_postgres, tmp_path / "site.tar", now_us=NOW_US, replace=True)
    _call_it(settings, "v0999")
    back_up(settings, tmp_path / "newer.tar", now_us=NOW_US)
    _call_it(settings, NEWEST)
    with pytest.raises(DatabaseNotReady, match=r"version v0999, this program knows v0001.*update the program"):
        restore(settings, tmp_path / "newer.tar", now_us=NOW_US, replace=True)
    assert told(settings) == [0, 1]
    assert sorted(path.name for path in settings.folder.iterdir() if path.suffix != ".lock") == ["site.db"]


def test_database_that_gives_way_stays_beside_as_it_was(settings: AggregatorSettings, tmp_path: Path) -> None:
    with Site(settings) as site:
        site.historian.store([Arrived(talk.healths(0))])
        back_up(settings, tmp_path / "site.tar", now_us=NOW_US)
        site.historian.store([Arrived(talk.healths(1))])
    restore(settings, tmp_path / "site.tar", now_us=NOW_US, replace=True)
    assert told(settings) == [0]
    (aside,) = settings.folder.glob("site.db.before-restore-*")
    assert told(settings.model_copy(update={"database_url": sqlite_url(aside)})) == [0, 1]


def test_database_of_a_killed_aggregator_stays_beside_with_what_was_still_in_its_log(
    settings: AggregatorSettings, tmp_path: Path
) -> None:
    with Site(settings) as site:
        back_up(settings, tmp_path / "site.tar", now_us=NOW_US)
        site.historian.store([Arrived(talk.healths(0, 1))])
        for path in list(settings.folder.glob("site.db*")):  # as a kill leaves them: the last commits in the log alone
            shutil.copy(path, tmp_path / path.name)
    assert (tmp_path / "site.db-wal").stat().st_size > 0
    for path in tmp_path.glob("site.db*"):
        shutil.move(path, settings.folder / path.name)
    restore(settings, tmp_path / "site.tar", now_us=NOW_US, replace=True)
    assert told(settings) == []
    (aside,) = (path for path in settings.folder.glob("site.db.before-restore-*") if path.suffix != ".db-wal")
    assert told(settings.model_copy(update={"database_url": sqlite_url(aside)})) == [0, 1]


@pytest.mark.parametrize("dump", OLDER, ids=lambda dump: dump.stem)
def test_backup_of_an_older_database_comes_back_as_this_version(
    settings: AggregatorSettings, tmp_path: Path, dump: Path
) -> None:
    settings.folder.mkdir()
    with sqlite3.connect(settings.folder / "site.db") as connection:
        connection.executescript(dump.read_text())
    connection.close()
    assert back_up(settings, tmp_path / "site.tar", now_us=NOW_US).schema_version == dump.stem
    (settings.folder / "site.db").unlink()
    restore(settings, tmp_path / "site.tar", now_us=NOW_US)
    assert len(told(settings)) == 2


def test_running_aggregator_is_not_replaced(
    settings: AggregatorSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Site(settings).engine.dispose()
    back_up(settings, tmp_path / "site.tar", now_us=NOW_US)
    file = _toml(settings)
    words = ["restore", "--settings", str(file), "--from", str(tmp_path / "site.tar"), "--replace"]

    def another_restores() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "aggregator", *words], capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stderr

    while_running: list[tuple[int, str]] = []

    def runs(_settings: AggregatorSettings, **_: object) -> int:
        while_running.append(another_restores())
        return 0

    monkeypatch.setattr("aggregator.service.run", runs)
    monkeypatch.setattr(command, "start_logging", lambda _level: None)
    assert command.main(["run", "--settings", str(file)]) == 0
    ((code, said),) = while_running
    assert (code, f"in use by process {os.getpid()}; stop it first" in said) == (2, True)
    assert another_restores()[0] == 0


def test_keys_travel_only_when_asked_for_and_come_back_only_where_they_are_missing(
    settings: AggregatorSettings, tmp_path: Path
) -> None:
    Site(settings).engine.dispose()
    (settings.folder / "authority").mkdir()
    (settings.folder / "authority" / "ca.key").write_text("content of ca.key")
    (settings.folder / "clients.json").write_text("{}")
    back_up(settings, tmp_path / "plain.tar", now_us=NOW_US)
    assert b"content of" not in (tmp_path / "plain.tar").read_bytes()
    back_up(settings, tmp_path / "keys.tar", now_us=NOW_US, with_keys=True)
    shutil.rmtree(settings.folder)
    settings.keys_file.write_text("newer")
    said = restore(settings, tmp_path / "keys.tar", now_us=NOW_US)
    assert f"put back: {settings.folder / 'clients.json'}, {settings.folder / 'authority' / 'ca.key'}" in said
    assert (settings.folder / "authority" / "ca.key").read_text() == "content of ca.key"
    assert (settings.folder / "authority" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert settings.keys_file.read_text() == "newer"


def test_the_two_commands_say_in_one_line_what_they_did_or_why_not(
    settings: AggregatorSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "start_logging", lambda _level: None)
    file = _toml(settings)

    def run(*words: str | Path) -> tuple[int, str]:
        code = command.main([str(word) for word in words])
        said = capsys.readouterr()
        assert said.out == ""
        return code, said.err.strip().splitlines()[-1]

    code, said = run("backup", "--settings", file, "--out", tmp_path / "site.tar")
    assert (code, "aggregator: database cannot be opened" in said) == (2, True)
    Site(settings).engine.dispose()
    assert run("backup", "--settings", file, "--out", tmp_path / "site.tar")[0] == 0
    assert run("restore", "--settings", file, "--from", tmp_path / "site.tar")[0] == 2
    code, said = run("restore", "--settings", file, "--from", tmp_path / "site.tar", "--replace")
    assert (code, "what stood there is in" in said) == (0, True)


def test_tables_of_postgresql_that_give_way_stay_beside(postgres: AggregatorSettings, tmp_path: Path) -> None:
    with Site(postgres) as site:
        site.historian.store([Arrived(talk.healths(0))])
        back_up(postgres, tmp_path / "site.tar", now_us=NOW_US)
        site.historian.store([Arrived(talk.healths(1))])
    with pytest.raises(ArchiveRejected, match="--replace"):
        restore(postgres, tmp_path / "site.tar", now_us=NOW_US)
    assert f"schema before_restore_{NOW_US}" in restore(postgres, tmp_path / "site.tar", now_us=NOW_US, replace=True)
    assert told(postgres) == [0]
    engine = sa.create_engine(postgres.database)
    with engine.connect() as connection:
        beside = connection.execute(sa.text(f"SELECT sequence FROM before_restore_{NOW_US}.health ORDER BY 1"))
        assert beside.scalars().all() == [0, 1]
        assert current_version(connection) == NEWEST
    engine.dispose()


def test_dump_that_postgresql_cannot_read_changes_nothing(
    postgres: AggregatorSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Site(postgres) as site:
        site.historian.store([Arrived(talk.healths(0))])

    def writes_nonsense(_url: object, _program: str, *words: str) -> None:
        Path(words[-1].removeprefix("--file=")).write_bytes(b"no dump")

    with monkeypatch.context() as patch:
        patch.setattr("aggregator.backup._run_program", writes_nonsense)
        back_up(postgres, tmp_path / "site.tar", now_us=NOW_US)
    with pytest.raises(BackupFailed, match="pg_restore failed"):
        restore(postgres, tmp_path / "site.tar", now_us=NOW_US, replace=True)
    assert told(postgres) == [0]
    engine = sa.create_engine(postgres.database)
    with engine.connect() as connection:
        names = connection.scalars(sa.text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before_%'")).all()
    engine.dispose()
    assert names == []


def test_failed_migration_changes_nothing_on_postgresql(postgres: AggregatorSettings, tmp_path: Path) -> None:
    with Site(postgres) as site:
        site.historian.store([Arrived(talk.healths(0))])
        before = sorted(sa.inspect(site.engine).get_table_names())
        with pytest.raises(DatabaseNotReady, match="nothing changed"):
            migrate(site.engine, config=config_that_fails(tmp_path))
        assert sorted(sa.inspect(site.engine).get_table_names()) == before
        assert rows(site.engine, tables.machine)[0].machine == "pump-07"
        with site.engine.connect() as connection:
            assert current_version(connection) == NEWEST
    assert told(postgres) == [0]


def _call_it(settings: AggregatorSettings, version: str) -> None:
    engine = open_database(settings.database)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :v"), {"v": version})
    engine.dispose()


def _toml(settings: AggregatorSettings) -> Path:
    file = settings.keys_file.parent.parent / "site.toml"
    file.write_text(
        'name = "plant-a"\nsigning_key_file = "keys/signing.key"\nkeys_file = "keys/keys.toml"\n'
        '[broker]\nusername = "plant-a"\npassword_file = "keys/password"\n'
    )
    return file
