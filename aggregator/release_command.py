"""This file knows the words of `aggregator release`: what is there, one in, one out, one taken back.

What a command changes stands in the database; the running aggregator sees it within seconds and brings it out.
"""

import argparse
import datetime as dt
import getpass
import json
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator.database import open_current, require_current, writing
from aggregator.desk_answers import RequestRefused
from aggregator.desk_rollout import ask_roll_back
from aggregator.errors import ReleaseUnknown
from aggregator.registry import FLEET_PARAMETERS, IMPORTED, Registry
from aggregator.release_import import check_runs, read_foreign
from aggregator.rollout import DAY_S
from aggregator.settings import AggregatorSettings
from schemas.database import open_database
from schemas.release import PARAMETERS, TRAIN_STEP, Release, read_release_bundle
from schemas.release_graphs import check_step
from schemas.signing import KeyRing, Signer
from schemas.site_tables import gateway
from schemas.site_tables import release as release_table


def run(settings: AggregatorSettings, args: argparse.Namespace) -> int:
    """Carry out a parsed command; the exit code.

    Raises:
        ReleaseUnknown: There is no such release.
        ContractError: What was given cannot be used; nothing has changed.
    """
    if args.what == "import":
        _import(settings, Path(_given(args, "a folder of `aggregator fit`, or a file of `release export`")), args)
    elif args.what == "roll-back":
        _roll_back(settings, None if args.which is None else _number(args), args.note)
    else:
        engine = open_database(settings.database, read_only=True)
        try:
            require_current(engine)
            {"list": _list, "show": _show, "export": _export}[args.what](engine, args)
        finally:
            engine.dispose()
    return 0


def _list(engine: Engine, args: argparse.Namespace) -> None:
    del args
    c = release_table.c
    query = sa.select(c.release_version, c.state, c.stage, c.level, c.created_at_us, c.digest, c.manifest)
    with engine.connect() as connection:
        for row in connection.execute(query.order_by(c.release_version.desc())):
            made = dt.datetime.fromtimestamp(row.created_at_us / 1e6, dt.UTC)
            where = row.state if row.stage in {None, "everywhere", row.state} else f"{row.state}, {row.stage}"
            print(
                f"{row.release_version:>6}  {where:<20}  {row.level:<8}  {row.manifest['family']:<20}  "
                f"{row.manifest.get('merge', {}).get('rule', ''):<12}  {made:%Y-%m-%d %H:%M}  {row.digest[:12]}"
            )


def _show(engine: Engine, args: argparse.Namespace) -> None:
    c = release_table.c
    query = sa.select(*(column for column in c if column.name != "bundle")).where(c.release_version == _number(args))
    with engine.connect() as connection:
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise _unknown(args)
    print(json.dumps(dict(row), indent=1, default=str))


def _export(engine: Engine, args: argparse.Namespace) -> None:
    if args.out is None:
        raise ReleaseUnknown("--out FILE is missing: where is the release to go?")
    query = sa.select(release_table.c.bundle).where(release_table.c.release_version == _number(args))
    with engine.connect() as connection:
        bundle = connection.execute(query).scalar()
    if bundle is None:
        raise _unknown(args)
    found = read_release_bundle(bundle, KeyRing([]))
    try:
        args.out.write_bytes(bundle)
    except OSError as error:
        raise ReleaseUnknown(f"{args.out} cannot be written: {error.strerror}") from error
    _say(f"{args.out}: release {found.version}, {len(bundle)} bytes, signed by {found.signer}")


def _import(settings: AggregatorSettings, path: Path, args: argparse.Namespace) -> None:
    keys, signer = KeyRing.load(settings.keys_file), Signer.load(settings.signing_key_file)
    foreign = read_foreign(path, keys, vouched_for=args.vouch_for)
    check_runs(foreign)
    is_site = settings.role == "site"
    engine = open_current(settings.database)
    try:
        registry = Registry(
            engine, signer, lambda: time.time_ns() // 1000, staged=is_site and settings.rollout.staged,
            valid_s=settings.rollout.valid_days * DAY_S if is_site else 0.0,
        )  # fmt: skip
        with writing(engine) as connection:
            ours = registry.publish_foreign(
                connection, foreign, level="site" if is_site else "fleet", actor=_actor(),
                merge={
                    "rule": IMPORTED, "signer": foreign.signer, "release": foreign.digest,
                    FLEET_PARAMETERS: foreign.manifest.files[PARAMETERS].sha256,
                },
                above_version=_highest_in_use(connection),
            )  # fmt: skip
    finally:
        engine.dispose()
    manifest = ours.manifest
    how = "a candidate" if registry.staged else "in force"
    _say(
        f"release {ours.version} is {how}: {manifest.family}, {manifest.parameter_count} parameters, training graph "
        f"{manifest.files[TRAIN_STEP].sha256[:12]}, made by {foreign.signer} as release {foreign.version}"
    )
    for remark in _unfitting(settings, ours):
        _say(f"beware: {remark}")


def _unfitting(settings: AggregatorSettings, ours: Release) -> list[str]:
    """What of the site's settings every gateway would refuse with this release's training graph."""
    known = check_step(ours).settings
    asked = {"learning_rate": settings.learning.learning_rate, "proximal": settings.learning.proximal}
    remarks = [
        f"learning.{name} is {value:g}, this release's training allows {known[name].lowest:g} to "
        f"{known[name].highest:g}; change it before its rounds begin"
        for name, value in (asked | settings.learning.rule_settings).items()
        if name in known and not known[name].lowest <= value <= known[name].highest
    ]
    strange = sorted(settings.learning.rule_settings.keys() - known.keys() - asked.keys())
    if strange:
        remarks.append(
            f"learning.rule_settings has {', '.join(strange)}, this release's training has {', '.join(sorted(known))}; "
            "take it out before its rounds begin"
        )
    return remarks


def _roll_back(settings: AggregatorSettings, version: int | None, note: str) -> None:
    engine = open_current(settings.database)
    try:
        with writing(engine) as connection:
            said = ask_roll_back(
                connection, version, note, actor=_actor(), now_us=time.time_ns() // 1000,
                people=settings.rollout.roll_back_people,
            )  # fmt: skip
    except RequestRefused as error:
        raise ReleaseUnknown(str(error)) from error
    finally:
        engine.dispose()
    _say(said)


def _highest_in_use(connection: Connection) -> int:
    """The highest version that any gateway has said it runs; below an enterprise there are none."""
    return connection.execute(sa.select(sa.func.max(gateway.c.release_version))).scalar() or 0


def _actor() -> str:
    return f"{getpass.getuser()} (command line)"


def _given(args: argparse.Namespace, what: str) -> str:
    if args.which is None:
        raise ReleaseUnknown(f"`aggregator release {args.what}` needs {what}")
    return str(args.which)


def _number(args: argparse.Namespace) -> int:
    said = _given(args, "the number of a release; `aggregator release list` shows them")
    if not said.isdecimal() or len(said) > 15:
        raise ReleaseUnknown(f"{said!r} found, the number of a release needed; `aggregator release list` shows them")
    return int(said)


def _unknown(args: argparse.Namespace) -> ReleaseUnknown:
    return ReleaseUnknown(f"there is no release {args.which} here; `aggregator release list` shows which there are")


def _say(words: str) -> None:
    print(words, file=sys.stderr)
