"""This file knows the command line of the aggregator: bad input is one clear line and exit code 2, no traceback."""

import argparse
import datetime as dt
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast, get_args

from aggregator.client_list import Client, Kind
from aggregator.errors import AggregatorError
from aggregator.settings import AggregatorSettings
from schemas.errors import ContractError, DatabaseNotReady
from schemas.logs import start_logging
from schemas.one_process import keep_to_this_process
from schemas.settings import describe, load_settings
from schemas.supervision import Asked

if TYPE_CHECKING:
    from aggregator.enrolment import Office

BAD_INPUT = 2


OFFLINE = {"fit": "build a release from healthy recordings", "foundry": "build and check the graphs of a model family"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code of the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    args = _parser(words[:1]).parse_args(words)
    try:
        return cast("int", args.run(args))
    except (ContractError, AggregatorError) as error:
        print(f"aggregator: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return 130


def _parser(first: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aggregator", description="Gathers a plant's gateways: site or enterprise.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(run=run)
        command.add_argument("--settings", type=Path, required=True, metavar="FILE", help="TOML, e.g. site.toml")
        command.add_argument("--check-settings", action="store_true", help="validate the settings and leave")
        return command

    add("run", _run, "run the aggregator")
    add("broker", _broker, "run the broker of this site or enterprise")
    add("migrate", _migrate, "bring the database to this program's version")
    status = add("status", _status, "show the state, beside a running aggregator")
    status.add_argument("--json", action="store_true", help="one JSON object instead of words")
    enroll = add("enroll", _enroll, "make one client known and write its bundle")
    enroll.add_argument("name", help="of the client: lower-case letters, digits and hyphens")
    enroll.add_argument("--as", dest="kind", choices=get_args(Kind), default="gateway", help="what it is (gateway)")
    enroll.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the bundle")
    enroll.add_argument("--gateway", metavar="NAME", help="for sensors: the gateway they speak to")
    enroll.add_argument(
        "--writes", action="append", default=[], metavar="TOPIC", help="of sensors of another language: their own"
    )
    enroll.add_argument("--key", type=Path, metavar="FILE", help="a public key it has already (keys.toml or PEM)")
    enroll.add_argument("--replace", action="store_true", help="end an earlier bundle of this name")
    renew = add("renew", _renew, "write a new certificate for a client")
    renew.add_argument("name", help="of the client")
    renew.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the bundle")
    revoke = add("revoke", _revoke, "throw a client out")
    revoke.add_argument("name", help="of the client")
    backup = add("backup", _backup, "write the database into one file, beside a running aggregator")
    backup.add_argument("--out", type=Path, required=True, metavar="FILE", help="the back-up; must not be there yet")
    backup.add_argument("--with-keys", action="store_true", help="authority and private keys too: keep it as a key")
    restore = add("restore", _restore, "put a back-up in the place of the database of a stopped aggregator")
    restore.add_argument("--from", dest="source", type=Path, required=True, metavar="FILE", help="the back-up")
    restore.add_argument("--replace", action="store_true", help="in place of a database; the old one stays beside")
    book = add("audit", _audit, "look whether the audit log is whole")
    book.add_argument("what", choices=("verify",), help="walk along the chain of seals")
    book.add_argument("--head", metavar="SEAL", help="a seal noted earlier, which must be in the chain")
    people = add("person", _person, "help where nobody can sign in as administrator any more")
    people.add_argument("what", choices=("promote", "remove"), help="make somebody administrator, or forget them")
    people.add_argument("name", help="exactly as on the page of people")
    releases = add("release", _release, "list releases, take one in that was made elsewhere, take one back")
    releases.add_argument("what", choices=("list", "show", "import", "export", "roll-back"), help="what to do")
    releases.add_argument(
        "which", nargs="?", metavar="NUMBER|PATH", help="a release by its number; to import, a folder or a file"
    )
    releases.add_argument("--vouch-for", metavar="KEY_ID", help="import: a signer that is not on the list of keys")
    releases.add_argument("--out", type=Path, metavar="FILE", help="export: where to")
    releases.add_argument("--note", default="", help="roll-back: why; others will read it")
    _add_offline(commands, first[0] if first else "")
    return parser


def _add_offline(commands: Any, wanted: str) -> None:
    """Add the commands that need no plant; their heavy imports only when one is wanted."""
    if wanted == "foundry":
        from aggregator.foundry import command as foundry

        foundry.add_arguments(commands)
        commands.choices["foundry"].set_defaults(run=foundry.run)
        return
    for name, words in OFFLINE.items():
        commands.add_parser(name, help=words, description=words)
    if wanted == "fit":
        from aggregator import fit

        fit.add_arguments(commands.choices["fit"])
        commands.choices["fit"].set_defaults(run=fit.run)


def _load(args: argparse.Namespace) -> AggregatorSettings | None:
    """The settings; None when they were only to be checked."""
    settings = load_settings(AggregatorSettings, args.settings)
    if args.check_settings:
        print(describe(settings))
        return None
    start_logging(settings.log_level)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells at length what it would do
    return settings


def _stop_on_signals() -> Asked:
    stop = Asked()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _run(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    from aggregator.service import run

    again: SimpleQueue[None] = SimpleQueue()
    signal.signal(signal.SIGHUP, lambda *_: again.put(None))
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseNotReady(
            f"folder {settings.folder} cannot be used: {error.strerror}; mount its disk, or name another in folder"
        ) from error
    with keep_to_this_process(settings.lock_file):
        return run(
            settings, stop=_stop_on_signals(), again=again,
            read_again=lambda: load_settings(AggregatorSettings, args.settings),
        )  # fmt: skip


def _broker(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    from aggregator.broker import run_broker

    return run_broker(settings, stop=_stop_on_signals())


def _migrate(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    from aggregator.database import current_version, open_current

    engine = open_current(settings.database)
    with engine.connect() as connection:
        version = current_version(connection)
    print(f"database is of version {version}", file=sys.stderr)
    engine.dispose()
    return 0


def _status(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    from aggregator.database import require_current
    from aggregator.status import in_words, read_live, read_status
    from schemas.database import open_database

    engine = open_database(settings.database, read_only=True)
    try:
        require_current(engine)
        status = read_status(engine, read_live(settings.live_file))
    finally:
        engine.dispose()
    print(json.dumps(status) if args.json else in_words(status))
    return 0


def _audit(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    from aggregator.audit_book import verify
    from aggregator.database import require_current
    from schemas.database import open_database

    engine = open_database(settings.database, read_only=True)
    try:
        require_current(engine)
        with engine.connect() as connection:
            found = verify(connection, head=args.head)
    finally:
        engine.dispose()
    if found.broken_row is not None:
        print(f"broken at row {found.broken_row} of {found.rows} (audit_id {found.broken_id}): {found.why}")
        return 1
    if not found.head_found:
        print(f"{found.rows} rows hold together, but seal {args.head} is not among them: the end was cut off")
        return 1
    before = f", {found.unsealed} of them from before there were seals" if found.unsealed else ""
    print(f"{found.rows} rows hold together{before}; newest seal {found.head or 'none'}")
    return 0


def _person(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    from aggregator.database import open_current, writing
    from aggregator.desk_people import promote_or_remove

    engine = open_current(settings.database)
    try:
        with writing(engine) as connection:
            _say(promote_or_remove(connection, args.what, args.name, now_us=time.time_ns() // 1000))
    finally:
        engine.dispose()
    return 0


def _release(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    from aggregator import release_command

    return release_command.run(settings, args)


def _backup(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    from aggregator.backup import back_up

    made = back_up(settings, args.out, now_us=time.time_ns() // 1000, with_keys=args.with_keys)
    _say(f"{args.out}: {len(made.files)} files, {made.size_bytes} bytes")
    return 0


def _restore(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    from aggregator.backup import restore

    _say(restore(settings, args.source, now_us=time.time_ns() // 1000, replace=args.replace))
    return 0


def _enroll(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    client = _office(settings).enroll(
        args.name, args.kind, args.out, gateway=args.gateway, writes=tuple(args.writes), key_file=args.key,
        replace=args.replace,
    )  # fmt: skip
    _say(f"{client.kind} {client.name} is enrolled; its bundle is in {args.out}{_until(client)}")
    return 0


def _renew(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    client = _office(settings).renew(args.name, args.out)
    _say(f"{client.kind} {client.name} is renewed; its bundle is in {args.out}{_until(client)}")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    settings = _load(args)
    if settings is None:
        return 0
    client = _office(settings).revoke(args.name)
    _say(f"{client.kind} {client.name} is revoked; a running broker and aggregator follow within seconds")
    return 0


def _office(settings: AggregatorSettings) -> "Office":
    from aggregator.broker_files import served_by
    from aggregator.enrolment import Office

    return Office(settings, by=served_by(settings.broker_server), now=lambda: dt.datetime.now(dt.UTC))


def _until(client: Client) -> str:
    if not client.not_after_us:
        return ""
    return f", its certificate holds until {dt.datetime.fromtimestamp(client.not_after_us / 1e6, dt.UTC):%Y-%m-%d}"


def _say(words: str) -> None:
    print(words, file=sys.stderr)
