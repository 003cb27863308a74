"""This file knows the command of the demonstration: `python -m deploy.demo`, which `make demo` calls."""

import argparse
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from aggregator.broker_files import ServedBy, find_mosquitto, served_by
from aggregator.settings import BrokerServerSettings
from deploy.demo.conductor import Conductor, screen_address
from deploy.demo.errors import DemoError, Interrupted, StageFailed
from deploy.demo.pictures import SETTLE_MS, take_pictures
from deploy.demo.plan import Plan, recorded_plan, simulated_plan
from deploy.demo.simulated import CHECK_PACE, PACE
from deploy.demo.story import Story
from deploy.demo.watch import alarmed_point
from schemas.supervision import Asked

FOLDER = Path("demo-plant")
RECORDED = "recordings"
_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; 0 when it was stopped or the check holds, 1 when not, 2 on bad input."""
    options = _parser().parse_args(arguments)
    stop = Asked()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    if "MAKELEVEL" in os.environ:  # whoever kills make means us
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    story = Story()
    try:
        if options.check or options.screenshots is not None:
            return _run_once(options, story, stop)
        with _own_folder(options) as folder:
            return _run(Conductor(_plan(options, folder), _broker(options), story, stop), options, story)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


def _run_once(options: argparse.Namespace, story: Story, stop: Asked) -> int:
    """Run in a new folder, which stays only where something failed."""
    parent = Path("build").resolve()
    parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=parent))
    code = 2
    try:
        code = _run(Conductor(_plan(options, folder), _broker(options), story, stop), options, story)
    finally:
        if code != 1:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _run(conductor: Conductor, options: argparse.Namespace, story: Story) -> int:
    once = options.check or options.screenshots is not None
    result = 1 if once else 0  # of whoever stops us: what is to be shown or proved is not, yet
    try:
        conductor.bring_up()
        if options.check:
            conductor.check()
            result = 0
        elif options.screenshots is not None:
            _photograph(conductor, options.screenshots, story)
            result = 0
        if options.stay or not once:
            story.say("Ctrl-C stops everything; `make demo` goes on from here, `make demo RESET=1` starts afresh.")
            conductor.watch()
    except Interrupted:
        story.happened("stopping")
    except StageFailed as error:
        story.happened(f"FAILED: {error}")
        result = 1
    try:
        conductor.take_down()
    except StageFailed as error:
        story.happened(f"FAILED: {error}")
        result = 1
    if options.check:
        story.happened("the whole plant works" if result == 0 else "the check does not hold")
    return result


def _photograph(conductor: Conductor, folder: Path, story: Story) -> None:
    site, machine = conductor.wait_for_alarm()
    threading.Event().wait(SETTLE_MS / 1000)
    point, visitor = alarmed_point(site, machine), conductor.secrets.admin
    for picture in take_pictures(screen_address(site), visitor, machine, point, folder):
        story.say(str(picture))


def _broker(options: argparse.Namespace) -> ServedBy:
    by = served_by(BrokerServerSettings(kind=options.broker))
    if by == "mosquitto" and find_mosquitto() is None:
        raise StageFailed("mosquitto is not installed; install it, or leave --broker out")
    return by


def _plan(options: argparse.Namespace, folder: Path) -> Plan:
    if options.recordings is not None:
        return recorded_plan(folder, options.recordings.resolve())
    return simulated_plan(folder, CHECK_PACE if options.check else PACE)


@contextlib.contextmanager
def _own_folder(options: argparse.Namespace) -> Iterator[Path]:
    """The folder that keeps what the plant has learnt, ours alone while we run."""
    folder: Path = options.folder.resolve()
    if options.recordings is not None:
        folder /= RECORDED  # other machines: what was learnt there means nothing here
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StageFailed(f"a demonstration runs in {folder} already; stop it with Ctrl-C first") from error
        if options.reset:
            _empty(folder)
        yield folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make demo", description="A whole plant on this machine's loopback.")
    parser.add_argument("--check", action="store_true", help="prove that everything works, and leave")
    parser.add_argument("--stay", action="store_true", help="with --check: go on until stopped, once it holds")
    parser.add_argument("--reset", action="store_true", help="forget what an earlier demonstration has learnt")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="play real recordings, not the simulator")
    parser.add_argument("--broker", choices=("auto", "mosquitto", "embedded"), default="auto",
                        help="auto: mosquitto where it is installed, else embedded")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where everything lies (demo-plant)")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="photograph the screen at the alarm, and leave")
    return parser


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name in {"lock", RECORDED}:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


if __name__ == "__main__":
    sys.exit(main())
