"""This file knows what must be true when all has healed and drained: nothing lost, nothing twice, every drop told.

Read from the databases themselves, beside the product: what is on disk is what counts.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from tests.simulation.gateways import SimulatedGateway
from tests.simulation.sensors import Key

KEPT_AT_SITE = {"health": "health", "alarm": "alarm", "evidence": "evidence", "gap": "gap"}
"""Kind of record -> table; other kinds change rows instead of adding one."""


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A database, opened to look at."""
    with closing(sqlite3.connect(path.resolve().as_uri() + "?mode=ro", uri=True)) as connection:
        yield connection


def of_gateway(
    gateway: SimulatedGateway, made: Mapping[Key, bytes], promised: set[Key], poisoned: int
) -> Iterator[str]:
    """What a gateway promised to broker and sensors it has, bit for bit; what it refused or misses it has counted."""
    with reading(gateway.folder / "gateway.db") as database:
        rows = database.execute('SELECT point, boot, sequence, segment, "offset", length FROM capture').fetchall()
        counts = dict(database.execute("SELECT name, value FROM counter"))
    stored = Counter((point, boot, sequence) for point, boot, sequence, *_ in rows)
    if lost := sorted(promised - stored.keys()):
        yield f"{gateway.name} acknowledged {len(lost)} captures that it does not have, such as {lost[0]}"
    if foreign := sorted(stored.keys() - made.keys()):
        yield f"{gateway.name} has {len(foreign)} captures that no sensor made, such as {foreign[0]}"
    if twice := [key for key, n in stored.items() if n > 1]:
        yield f"{gateway.name} has {twice[0]} twice"
    segments: dict[int, bytes | None] = {}
    for *key, segment, offset, length in rows:
        if segment is None:
            continue
        if segment not in segments:
            path = gateway.folder / "raw" / f"{segment:010d}.seg"
            segments[segment] = path.read_bytes() if path.exists() else None
        if segments[segment] is None:  # left the ring in the moment of a kill, before its rows were told
            continue
        if segments[segment][offset : offset + length] != made[key[0], key[1], key[2]]:
            yield f"{gateway.name}: the bytes of {key} are not what the sensor made"
            break
    refused = sum(n for name, n in counts.items() if name.startswith("dead:") and name != "dead:fragments_incomplete")
    if refused < poisoned:
        yield f"{gateway.name} took {poisoned} poisoned payloads and counts {refused}"
    sequences = defaultdict(list)
    for point, boot, sequence in stored:
        sequences[point, boot].append(sequence)
    holes = sum(max(of) - min(of) + 1 - len(of) for of in sequences.values())
    if holes != counts.get("captures_gap", 0):
        yield f"{gateway.name} misses {holes} captures and counts {counts.get('captures_gap', 0)}"


def of_site(path: Path, gateway: SimulatedGateway) -> Iterator[str]:
    """Every record of a gateway is at the site, once, or a gap record says that it was given up."""
    with reading(gateway.folder / "gateway.db") as database:
        boot = int(database.execute("SELECT value FROM meta WHERE key = 'boot'").fetchone()[0])
        total = (database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone() or (0,))[0]
        captures = set(database.execute("SELECT point, boot, sequence FROM capture"))
    of_stream = (gateway.name, boot)
    with reading(path) as database:
        run = database.execute
        uplink = run("SELECT through, stored FROM uplink WHERE gateway = ? AND boot = ?", of_stream).fetchone()
        ahead = run("SELECT count(*) FROM uplink_ahead WHERE gateway = ? AND boot = ?", of_stream).fetchone()[0]
        rows = {
            kind: {n for (n,) in run(f"SELECT sequence FROM {table} WHERE gateway = ? AND boot = ?", of_stream)}
            for kind, table in KEPT_AT_SITE.items()
        }
        gaps = run(
            "SELECT first, last FROM gap WHERE gateway = ? AND boot = ? AND what = 'records'", of_stream
        ).fetchall()
        told = run(
            "SELECT point, capture_boot, capture_sequence FROM health WHERE gateway = ?", of_stream[:1]
        ).fetchall()
        others = run("SELECT count(*) FROM uplink WHERE gateway = ? AND boot <> ?", of_stream).fetchone()[0]
    through, stored = uplink or (-1, 0)
    if others:
        yield f"the site knows {others} stores of {gateway.name} that never were"
    if (through, ahead) != (total - 1, 0):
        yield f"{gateway.name} wrote {total} records, the site has all up to {through} and {ahead} beyond"
    given_up = {n for first, last in gaps for n in range(first, last + 1)}
    kept = set().union(*rows.values())
    changing = {n for n, kind in gateway.sent_kinds.items() if kind not in KEPT_AT_SITE}
    if missing := set(range(total)) - given_up - kept - changing:
        yield f"{len(missing)} records of {gateway.name} are not at the site, such as {min(missing)}; no gap says so"
    if stored != len(kept | changing):
        yield f"the site counts {stored} records of {gateway.name} and has {len(kept | changing)}"
    for kind, found in rows.items():
        if wrong := [n for n in found if gateway.sent_kinds.get(n) != kind]:
            yield f"the site has {wrong[0]} of {gateway.name} as {kind}, sent as {gateway.sent_kinds.get(wrong[0])}"
    if len(told) != len(set(told)):
        yield f"the site has {Counter(told).most_common(1)} of {gateway.name} twice"
    untold = captures - set(told)
    if len(untold) > len(given_up - kept):
        yield f"{len(untold)} captures of {gateway.name} are not told, {len(given_up - kept)} records were given up"
    if foreign := set(told) - captures:
        yield f"the site has {len(foreign)} captures of {gateway.name} that the gateway has not, such as {min(foreign)}"


def totals(path: Path) -> dict[str, int]:
    """How much of what was built for faults was used."""
    with reading(path) as database:
        duplicates, given_up = database.execute(
            "SELECT (SELECT coalesce(sum(duplicates), 0) FROM uplink), (SELECT coalesce(sum(count), 0) FROM gap)"
        ).fetchone()
        alarms = database.execute("SELECT count(*) FROM alarm").fetchone()[0]
    return {"duplicates": duplicates, "given_up": given_up, "alarms": alarms}


def of_historian(path: Path) -> Iterator[str]:
    """The site refused nothing: whatever it got was said by one of its gateways."""
    with reading(path) as database:
        for reason, count in database.execute("SELECT reason, count FROM dead_letter_count"):
            yield f"the site refused {count} messages: {reason}"


def of_queues(gateway: SimulatedGateway) -> Iterator[str]:
    """Queues and rings are within their stated bounds."""
    if not gateway.running or gateway.disk.full:
        return
    sizes, store = gateway.sizes, gateway.store
    if gateway.worker.queued > 2 * sizes.queue_captures:
        yield f"{gateway.name} has {gateway.worker.queued} captures waiting"
    if store.segments.total_bytes > sizes.raw_bytes + sizes.raw_bytes // 4 + sizes.batch_captures * 512:
        yield f"{gateway.name} holds {store.segments.total_bytes} bytes of raw captures, {sizes.raw_bytes} allowed"
    with reading(gateway.folder / "gateway.db") as database:
        ((all_bytes, droppable_bytes),) = database.execute(
            "SELECT coalesce(sum(size_bytes), 0), coalesce(sum(size_bytes) FILTER (WHERE priority > 0), 0) FROM outbox"
        )
    if droppable_bytes > sizes.outbox_bytes:  # alarms, and the gaps themselves, are never dropped
        yield f"{gateway.name} has {droppable_bytes} droppable bytes in its outbox, {sizes.outbox_bytes} allowed"
    if all_bytes != store._outbox_bytes:
        yield f"{gateway.name} has {all_bytes} bytes in its outbox and counts {store._outbox_bytes}"
