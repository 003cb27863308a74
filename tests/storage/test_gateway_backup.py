"""A gateway's store comes back from a back-up whole, touches nothing when it cannot, and reuses no record number."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.historian import Arrived, Historian
from gateway_agent import command
from gateway_agent.backup import BESIDE, SKIPPED_AT_LEAST, back_up, restore
from gateway_agent.batch import NORMAL, Batch, CaptureRow
from gateway_agent.errors import StoreError
from gateway_agent.settings import GatewaySettings, StoreSettings
from gateway_agent.store import RESTORING, Store
from gateway_agent.store_tables import capture_table
from gateway_agent.store_upgrade import VERSION
from schemas import site_tables
from schemas.archive import ArchiveRejected
from schemas.database import sqlite_url
from schemas.messages import Numbered, RecordBatch, decode_any
from schemas.one_process import FolderInUse
from schemas.settings import BrokerSettings
from tests.support.gateway_talk import health

MB = 1 << 20
POINT = "pump-07/de"
NOW_US = 1_800_000_000_000_000
OLDER = Path(__file__).parent / "databases" / "gateway" / "v0001.sql"


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    (tmp_path / "keys").mkdir()
    for name in ("signing.key", "keys.toml", "password"):
        (tmp_path / "keys" / name).write_text(f"content of {name}")
    return GatewaySettings(
        site="plant-a", gateway="gw-1", signing_key_file=tmp_path / "keys" / "signing.key",
        keys_file=tmp_path / "keys" / "keys.toml",
        broker=BrokerSettings(username="gw-1", password_file=tmp_path / "keys" / "password"),
        store=StoreSettings(
            folder=tmp_path / "var", raw_bytes=4 * MB, segment_bytes=1 << 16, min_free_bytes=0, raw_days=3660.0
        ),
    )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


def row(sequence: int, raw: bytes | None = None) -> CaptureRow:
    return CaptureRow(POINT, 1, sequence, 1, 2, "ok", True, 0.5, None, "{}", raw or b"raw%d" % sequence)


def commit(store: Store, *sequences: int) -> None:
    """One capture with its record each."""
    for n in sequences:
        store.commit(Batch(NOW_US, captures=[row(n)], records=[(NORMAL, health(n))]))


def fill(settings: GatewaySettings, *sequences: int) -> None:
    store = Store(settings.store)
    commit(store, *sequences)
    store.close()


def tell(store: Store, historian: Historian, *, up_to: int | None = None) -> list[int]:
    """Send what waits, and forget what the site has acknowledged; the numbers that were sent."""
    waiting = [w for w in store.waiting(1000) if up_to is None or w.sequence <= up_to]
    records = tuple(Numbered(sequence=w.sequence, record=decode_any(w.body)) for w in waiting)  # type: ignore[arg-type]
    for ack in historian.store([Arrived(RecordBatch(gateway="gw-1", boot=store.boot, records=records))]):
        store.forget(ack.through, ack.also)
    return [w.sequence for w in waiting]


def rows_of(engine: Engine, table: sa.Table) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table)))


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "agent.lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_backup_beside_a_busy_agent_holds_all_that_was_committed_and_every_byte(
    settings: GatewaySettings, tmp_path: Path
) -> None:
    store = Store(settings.store)
    (settings.store.folder / "releases" / "00000001-abc").mkdir(parents=True)
    (settings.store.folder / "releases" / "shelf.json").write_text("{}")
    (settings.store.folder / "releases" / "00000001-abc" / "score.onnx").write_bytes(b"graph")
    (settings.store.folder / "releases" / ".draft").mkdir()
    (settings.store.folder / "releases" / ".draft" / "half").write_bytes(b"?")
    raw = os.urandom(20_000)
    stop, beyond = threading.Event(), threading.Event()

    def work() -> None:  # fast enough that segments leave the ring while it is read
        n = 0
        while not stop.is_set():
            store.commit(Batch(NOW_US, captures=[row(n, raw)], records=[(NORMAL, health(n))]))
            n += 1
            if n > 300:
                beyond.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert beyond.wait(60)
    before = store.captures_stored()
    manifest = back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    stop.set()
    thread.join()
    store.close()
    assert (manifest.schema_version, manifest.keys, manifest.name) == (str(VERSION), False, "gw-1")
    restore(settings, tmp_path / "one.tar", now_us=NOW_US + 1, replace=True)
    assert (settings.store.folder / "releases" / "00000001-abc" / "score.onnx").read_bytes() == b"graph"
    assert not (settings.store.folder / "releases" / ".draft").exists()
    store = Store(settings.store)
    assert store.captures_stored() >= before
    c = capture_table.c
    in_ring = [one.sequence for one in store._all(sa.select(c.sequence).where(c.segment.is_not(None)))]
    assert len(in_ring) > 100
    assert all(store.raw_capture(POINT, 1, n) == raw for n in in_ring)
    store.close()


def test_restored_gateway_gives_no_number_twice_and_the_site_has_everything_once(
    settings: GatewaySettings, site: Engine, tmp_path: Path
) -> None:
    historian = Historian(site, now_us=lambda: NOW_US)
    store = Store(settings.store)
    commit(store, *range(5))
    tell(store, historian, up_to=2)
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    commit(store, *range(5, 10))
    tell(store, historian, up_to=8)  # 9 never reaches the site
    boot = store.boot
    store.close()

    said = restore(settings, tmp_path / "one.tar", now_us=NOW_US + 1, replace=True)
    assert "3 records wait for the site" in said
    store = Store(settings.store)
    assert store.boot == boot
    commit(store, *range(20, 25))
    numbers = tell(store, historian)
    assert sorted(numbers)[:2] == [3, 4]
    assert sorted(numbers)[2] > 9 + SKIPPED_AT_LEAST
    assert max(numbers) < 1 << 53
    assert store.outbox_state()[0] == 0
    assert store.counts()["restores"] == 1
    store.close()
    captures = [one.capture_sequence for one in rows_of(site, site_tables.health)]
    assert sorted(captures) == [*range(9), *range(20, 25)]
    (gap,) = rows_of(site, site_tables.gap)
    assert (gap.what, gap.first, gap.last) == ("records", 5, sorted(numbers)[2] - 1)
    assert "restored from the back-up of 2027-01-15" in gap.reason
    (uplink,) = rows_of(site, site_tables.uplink)
    assert (uplink.through, uplink.duplicates) == (max(numbers), 2)
    assert rows_of(site, site_tables.uplink_ahead) == []


def test_one_backup_restored_twice_gives_no_number_twice(settings: GatewaySettings, tmp_path: Path) -> None:
    fill(settings, 0, 1)
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    used: list[set[int]] = []
    for _ in range(2):
        restore(settings, tmp_path / "one.tar", now_us=NOW_US, replace=True)
        store = Store(settings.store)
        commit(store, 7, 8, 9)
        used.append({w.sequence for w in store.waiting(99)} - {0, 1})
        store.close()
    assert len(used[0] | used[1]) == 8


def test_store_that_gives_way_stays_beside_as_it_was(settings: GatewaySettings, tmp_path: Path) -> None:
    fill(settings, 0)
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    fill(settings, 1, 2)
    before = tree(settings.store.folder)
    restore(settings, tmp_path / "one.tar", now_us=NOW_US, replace=True)
    (aside,) = settings.store.folder.glob(f"{BESIDE}*")
    assert tree(aside) == before
    restore(settings, tmp_path / "one.tar", now_us=NOW_US + 1, replace=True)
    assert len(list(settings.store.folder.glob(f"{BESIDE}*"))) == 2


def test_lost_disk_needs_no_replace(settings: GatewaySettings, tmp_path: Path) -> None:
    fill(settings, 0)
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    elsewhere = settings.model_copy(update={"store": settings.store.model_copy(update={"folder": tmp_path / "new"})})
    restore(elsewhere, tmp_path / "one.tar", now_us=NOW_US)
    store = Store(elsewhere.store)
    assert store.raw_capture(POINT, 1, 0) == b"raw0"
    store.close()


def spoilt(archive: Path, how: str) -> None:
    content = archive.read_bytes()
    if how == "a bit flipped":
        at = content.index(b"raw1")
        archive.write_bytes(content[:at] + b"R" + content[at + 1 :])
    elif how == "cut short":
        archive.write_bytes(content[: len(content) // 2])
    elif how == "no archive":
        archive.write_bytes(b"no archive" * 100)
    else:
        with tarfile.open(archive) as old:
            members = [(one, old.extractfile(one).read()) for one in old]  # type: ignore[union-attr]
        with tarfile.open(archive, "w") as new:
            for info, written in members:
                body = written
                if how == "a file left out" and info.name.endswith(".seg"):
                    continue
                if how == "a format to come" and info.name == "manifest.json":
                    body = json.dumps(json.loads(written) | {"format": 2}).encode()
                    info.size = len(body)
                new.addfile(info, io.BytesIO(body))
            if how == "a file put in":
                info = tarfile.TarInfo("../../evil")
                info.size = 4
                new.addfile(info, io.BytesIO(b"evil"))


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("a bit flipped", "damaged"), ("cut short", "not written to its end|no back-up that can be read"),
        ("no archive", "no back-up that can be read"), ("a file left out", "incomplete"),
        ("a file put in", "not on its list"), ("a format to come", "does not read"),
    ],
)  # fmt: skip
def test_backup_that_is_not_whole_touches_nothing(
    settings: GatewaySettings, tmp_path: Path, how: str, word: str
) -> None:
    fill(settings, 0, 1)
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    spoilt(tmp_path / "one.tar", how)
    before = tree(tmp_path)
    with pytest.raises(ArchiveRejected, match=word):
        restore(settings, tmp_path / "one.tar", now_us=NOW_US, replace=True)
    assert tree(tmp_path) == before


def test_backup_of_another_gateway_or_over_a_store_touches_nothing(settings: GatewaySettings, tmp_path: Path) -> None:
    fill(settings, 0)
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    before = tree(tmp_path)
    with pytest.raises(ArchiveRejected, match="--replace"):
        restore(settings, tmp_path / "one.tar", now_us=NOW_US)
    with pytest.raises(ArchiveRejected, match="'gw-1', the settings are of gateway 'gw-2'"):
        restore(settings.model_copy(update={"gateway": "gw-2"}), tmp_path / "one.tar", now_us=NOW_US, replace=True)
    with pytest.raises(ArchiveRejected, match="there already"):
        back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    assert tree(tmp_path) == before


def test_store_of_a_later_version_in_a_backup_touches_nothing(settings: GatewaySettings, tmp_path: Path) -> None:
    fill(settings, 0)
    store = Store(settings.store)
    store.remember("schema", "99")
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    store.remember("schema", str(VERSION))
    store.close()
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="has version 99"):
        restore(settings, tmp_path / "one.tar", now_us=NOW_US, replace=True)
    assert tree(tmp_path) == before


def test_backup_of_an_older_store_comes_back_as_this_version(settings: GatewaySettings, tmp_path: Path) -> None:
    settings.store.folder.mkdir()
    connection = sa.create_engine(sqlite_url(settings.store.folder / "gateway.db")).raw_connection()
    connection.executescript(OLDER.read_text())  # type: ignore[attr-defined]
    connection.close()
    assert back_up(settings, tmp_path / "one.tar", now_us=NOW_US).schema_version == "1"
    restore(settings, tmp_path / "one.tar", now_us=NOW_US, replace=True)
    store = Store(settings.store)
    assert (store.boot, sorted(w.sequence for w in store.waiting(9))[:3]) == (4242, [1, 2, 3])
    store.close()


def test_running_agent_is_not_replaced(settings: GatewaySettings, tmp_path: Path) -> None:
    fill(settings, 0)
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    agent = "import sys; from pathlib import Path; from gateway_agent.settings import StoreSettings as S; "
    agent += "from gateway_agent.store import Store; s = Store(S(folder=Path(sys.argv[1]))); print('up', flush=True); "
    agent += "sys.stdin.read(); s.close()"
    with subprocess.Popen(
        [sys.executable, "-c", agent, str(settings.store.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"up\n"
        with pytest.raises(FolderInUse, match=f"in use by process {process.pid}; stop it first"):
            restore(settings, tmp_path / "one.tar", now_us=NOW_US, replace=True)
        process.stdin.close()
        assert process.wait(30) == 0
    restore(settings, tmp_path / "one.tar", now_us=NOW_US, replace=True)


def test_agent_refuses_a_store_whose_restore_was_interrupted_until_it_is_done_again(
    settings: GatewaySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(settings, 0, 1)
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    before = tree(settings.store.folder)
    moved: list[Path] = []
    rename = Path.rename

    def power_goes(self: Path, target: Path) -> Path:
        moved.append(target)
        if len(moved) == 3:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", power_goes)
        with pytest.raises(KeyboardInterrupt):
            restore(settings, tmp_path / "one.tar", now_us=NOW_US, replace=True)
    assert (settings.store.folder / RESTORING).exists()
    with pytest.raises(StoreError, match="was interrupted; run `gateway-agent restore` again"):
        Store(settings.store)
    restore(settings, tmp_path / "one.tar", now_us=NOW_US + 1, replace=True)
    store = Store(settings.store)
    assert store.raw_capture(POINT, 1, 1) == b"raw1"
    store.close()
    beside = [digest for one in settings.store.folder.glob(f"{BESIDE}*") for digest in tree(one).values()]
    assert set(before.values()) <= set(beside)


@pytest.mark.root
def test_what_root_restores_belongs_to_whom_the_folder_belongs(settings: GatewaySettings, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: whom restored files belong to is not tested")
    fill(settings, 0)
    back_up(settings, tmp_path / "one.tar", now_us=NOW_US)
    for path in (settings.store.folder, *settings.store.folder.rglob("*")):
        os.chown(path, 65534, 65534)
    restore(settings, tmp_path / "one.tar", now_us=NOW_US, replace=True)
    assert {path.stat().st_uid for path in settings.store.folder.rglob("*")} == {65534}


def test_keys_travel_only_when_asked_for_and_come_back_only_where_they_are_missing(
    settings: GatewaySettings, tmp_path: Path
) -> None:
    fill(settings, 0)
    assert not any("key" in name for name in back_up(settings, tmp_path / "plain.tar", now_us=NOW_US).files)
    assert b"content of" not in (tmp_path / "plain.tar").read_bytes()
    back_up(settings, tmp_path / "keys.tar", now_us=NOW_US, with_keys=True)
    assert (tmp_path / "keys.tar").stat().st_mode & 0o777 == 0o600
    settings.signing_key_file.unlink()
    settings.keys_file.write_text("newer")
    said = restore(settings, tmp_path / "keys.tar", now_us=NOW_US, replace=True)
    assert f"put back: {settings.signing_key_file}" in said
    assert settings.signing_key_file.read_text() == "content of signing.key"
    assert settings.signing_key_file.stat().st_mode & 0o777 == 0o600
    assert settings.keys_file.read_text() == "newer"
    assert not list(settings.store.folder.rglob("signing_key_file"))


def test_the_two_commands_say_in_one_line_what_they_did_or_why_not(
    settings: GatewaySettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(settings, 0)
    file = tmp_path / "gateway.toml"
    file.write_text(
        'site = "plant-a"\ngateway = "gw-1"\nsigning_key_file = "keys/signing.key"\nkeys_file = "keys/keys.toml"\n'
        '[broker]\nusername = "gw-1"\npassword_file = "keys/password"\n[store]\nfolder = "var"\n'
    )

    def run(*words: str | Path) -> tuple[int, str]:
        code = command.main([str(word) for word in words])
        said = capsys.readouterr()
        assert said.out == ""
        return code, said.err.strip()

    assert run("backup", "--settings", file, "--out", tmp_path / "one.tar")[0] == 0
    code, said = run("restore", "--settings", file, "--from", tmp_path / "one.tar")
    assert (code, "--replace" in said, len(said.splitlines())) == (2, True, 1)
    code, said = run("restore", "--settings", file, "--from", tmp_path / "one.tar", "--replace")
    assert (code, "what stood there is in" in said, len(said.splitlines())) == (0, True, 1)
    code, said = run("backup", "--settings", file, "--out", tmp_path / "no" / "folder.tar")
    assert (code, "cannot be written" in said, len(said.splitlines())) == (2, True, 1)
