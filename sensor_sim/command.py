"""This file knows the command line: what `sensor-sim` is asked to do, and how it says that it cannot."""

import argparse
import logging
import re
import secrets
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from schemas.errors import ContractError
from schemas.link import Link
from schemas.logs import event, start_logging
from schemas.settings import describe, load_settings
from schemas.supervision import Asked, notify
from schemas.topics import CAPTURE_ACK
from sensor_sim.delivery import Delivery
from sensor_sim.errors import PlaylistError, SimulatorError
from sensor_sim.kept_captures import KeptCaptures
from sensor_sim.nameplates import nameplates_toml
from sensor_sim.plant import Plant, gateway_by_machine
from sensor_sim.preview import describe_machine, seconds_of, write_recording
from sensor_sim.publisher import Answers, Publisher
from sensor_sim.replay import Part, Playlist, Replay, ReplayPoint, load_playlist
from sensor_sim.scenario import Scenario, load_scenario
from sensor_sim.settings import SimulatorSettings

log = logging.getLogger(__name__)

REPLAY_MEMORY_CAPTURES = 200  # a point; the broker has them by then, this is for what it may lose
_CUT = re.compile(r"(?P<file>.+?):(?P<from>[0-9.]+)-(?P<to>[0-9.]+)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when done, 2 with one clear line on stderr when it cannot be."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        sys.stderr.write(f"sensor-sim: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}\n")
        return 2
    except (SimulatorError, ContractError) as error:
        sys.stderr.write(f"sensor-sim: {error}\n")
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sensor-sim", description="Sensors of a plant: simulated, or played back.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="simulate the sensors of a scenario")
    run.add_argument("--settings", type=Path, required=True)
    run.add_argument("--speed", type=float, help="plant seconds a second; 0: as fast as it goes")
    _add_set(run)
    run.add_argument("--check-settings", action="store_true", help="check settings and scenario, and leave")
    run.set_defaults(command=_run)

    replay = commands.add_parser("replay", help="publish recordings as if they were measured now")
    replay.add_argument("files", nargs="*", metavar="FILE[:A-B]", help="played one after the other at --point")
    replay.add_argument("--settings", type=Path, required=True)
    replay.add_argument("--playlist", type=Path, help="TOML with points and their parts, instead of FILEs")
    replay.add_argument("--recordings", type=Path, help="folder that the playlist's files are relative to")
    replay.add_argument("--point", help="machine/position, for FILEs")
    replay.add_argument("--rate-hz", type=float, help="samples a second, where the file does not say")
    replay.add_argument("--scale-g", type=float, help="g per unit of the file, where it does not say")
    replay.add_argument("--channels", help="names or numbers, separated by commas")
    replay.add_argument("--samples", type=int, help="of a capture")
    replay.add_argument("--window-s", type=float, help="length of a capture, if not --samples")
    replay.add_argument("--interval-s", type=float, default=2.0)
    replay.add_argument("--speed", type=float)
    replay.add_argument("--check-settings", action="store_true", help="check settings and all recordings, and leave")
    replay.set_defaults(command=_replay)

    scenario = commands.add_parser("scenario", help="look at a scenario file")
    kinds = scenario.add_subparsers(required=True, metavar="WHAT")
    check = kinds.add_parser("check", help="say whether it can be used, and what is in it")
    check.add_argument("file", type=Path)
    _add_set(check)
    check.set_defaults(command=_check_scenario)
    plates = kinds.add_parser("nameplates", help="print its nameplates as a gateway's settings want them")
    plates.add_argument("file", type=Path)
    plates.add_argument("--machines", help="names, separated by commas; all by default")
    _add_set(plates)
    plates.set_defaults(command=_print_nameplates)

    preview = commands.add_parser("preview", help="show one machine at one time of its life")
    preview.add_argument("scenario", type=Path)
    preview.add_argument("--machine", required=True)
    preview.add_argument("--at", default="0", help="such as 90, 15m, 2h or 3d")
    preview.add_argument("--seed", type=int, default=0)
    preview.add_argument("--captures", type=int, default=1)
    preview.add_argument("--out", type=Path, help="write the signal as an .npz recording")
    _add_set(preview)
    preview.set_defaults(command=_preview)
    return parser


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=NUMBER", help="a variable of the scenario; may be repeated"
    )


def _variables(given: Iterable[str]) -> dict[str, float]:
    variables = {}
    for item in given:
        name, _, number = item.partition("=")
        try:
            variables[name.strip()] = float(number)
        except ValueError as error:
            raise SimulatorError(f"--set {item!r} found; NAME=NUMBER expected") from error
    return variables


def _run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    if settings.scenario is None:
        raise SimulatorError(f"settings {options.settings} name no scenario; see deploy/examples/scenarios")
    scenario = load_scenario(settings.scenario, {**settings.variables, **_variables(options.set)})
    plant = Plant(
        scenario,
        site=settings.site,
        gateway_of=gateway_by_machine(settings.gateways, settings.gateway),
        seed=settings.seed,
        run=_run_number(settings),
        epoch_us=settings.epoch_us(datetime.now(UTC)),
    )
    if options.check_settings:
        sys.stdout.write(describe(settings) + "\n" + "\n".join(_summary(scenario)) + "\n")
        return 0
    memories = {sensor.name: sensor.point.kept_captures for sensor in plant.sensors if sensor.point.keeps_until_ack}
    deliveries = plant.deliveries(from_s=settings.start_s, to_s=settings.stop_s)
    return _play(settings, deliveries, memories, may_drop=True)


def _replay(options: argparse.Namespace) -> int:
    settings = _settings(options)
    playlist = _playlist(options)
    replay = Replay(
        playlist,
        site=settings.site,
        gateway_of=gateway_by_machine(settings.gateways, settings.gateway),
        run=_run_number(settings),
        epoch_us=settings.epoch_us(datetime.now(UTC)),
    )
    captures = replay.check()
    if options.check_settings:
        lines = [f"{point}: {number} captures" for point, number in captures.items()]
        sys.stdout.write(describe(settings) + "\n" + "\n".join(lines) + "\n")
        return 0
    memories = {point.point: REPLAY_MEMORY_CAPTURES for point in playlist.points if point.keeps_until_ack}
    return _play(settings, replay.deliveries(), memories, may_drop=False)


def _playlist(options: argparse.Namespace) -> Playlist:
    if options.playlist is not None:
        if options.files:
            raise PlaylistError("FILEs and --playlist found; give one of them")
        return load_playlist(options.playlist, options.recordings)
    if not options.files or options.point is None:
        raise PlaylistError("nothing to replay; give FILEs with --point machine/position, or --playlist")
    channels = tuple(options.channels.split(",")) if options.channels else ()
    parts = []
    for argument in options.files:
        match = _CUT.fullmatch(argument)
        cut = {} if match is None else {"from_s": match["from"], "to_s": match["to"]}
        parts.append(
            Part.model_validate(
                {"file": Path(argument if match is None else match["file"]), "rate_hz": options.rate_hz,
                 "scale_g": options.scale_g, "channels": channels, **cut}
            )
        )  # fmt: skip
    point = ReplayPoint.model_validate(
        {"point": options.point, "samples": options.samples, "window_s": options.window_s,
         "interval_s": options.interval_s, "parts": tuple(parts)}
    )  # fmt: skip
    return Playlist(points=(point,))


def _settings(options: argparse.Namespace) -> SimulatorSettings:
    settings = load_settings(SimulatorSettings, options.settings)
    if options.speed is not None:
        settings = SimulatorSettings.model_validate({**settings.model_dump(), "speed": options.speed})
    start_logging(settings.log_level)
    return settings


def _run_number(settings: SimulatorSettings) -> int:
    return settings.run if settings.run is not None else secrets.randbits(62)


def _play(
    settings: SimulatorSettings, deliveries: Iterable[Delivery], memories: dict[str, int], *, may_drop: bool
) -> int:
    stop = Asked()
    kept = KeptCaptures(resend_s=settings.resend_s)
    for point, captures in memories.items():
        kept.limit(point, captures)
    answers = Answers()
    link = Link(
        settings.broker,
        settings.client,
        subscriptions=[(CAPTURE_ACK.filter(site=settings.site), CAPTURE_ACK.qos)],
        on_message=answers.take,
        on_connected=answers.connected,
        on_fault=lambda _: stop.set(),
    )
    publisher = Publisher(
        link,
        answers,
        kept,
        now_s=time.monotonic,
        speed=settings.speed or float("inf"),
        queue_deliveries=settings.queue_deliveries,
        may_drop=may_drop,
        stop=stop,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    event(log, logging.INFO, "sensors_started", site=settings.site, speed=settings.speed, seed=settings.seed)
    link.start()
    notify("READY=1")
    try:
        publisher.run(deliveries, linger_s=settings.linger_s)
    finally:
        notify("STOPPING=1")
        link.stop()
    return 0 if link.fault is None else 1


def _summary(scenario: Scenario) -> list[str]:
    lines = [f"{scenario.title or 'scenario'}: {len(scenario.machines)} machines"]
    for machine in scenario.machines:
        faults = ", ".join(f"{fault.kind} from {fault.onset_s:g} s" for fault in machine.faults) or "stays sound"
        points = ", ".join(
            f"{p.position} ({len(p.axes)} x {p.samples} every {p.interval_s:g} s)" for p in machine.points
        )
        lines.append(f"  {machine.name}, {machine.nominal_rpm:g} rpm: {points}; {faults}")
    return lines


def _check_scenario(options: argparse.Namespace) -> int:
    scenario = load_scenario(options.file, _variables(options.set))
    sys.stdout.write("\n".join(_summary(scenario)) + "\n")
    return 0


def _print_nameplates(options: argparse.Namespace) -> int:
    scenario = load_scenario(options.file, _variables(options.set))
    names = options.machines.split(",") if options.machines else [machine.name for machine in scenario.machines]
    sys.stdout.write(nameplates_toml(scenario.machine(name).nameplate for name in names))
    return 0


def _preview(options: argparse.Namespace) -> int:
    scenario = load_scenario(options.scenario, _variables(options.set))
    at_s = seconds_of(options.at)
    sys.stdout.write("\n".join(describe_machine(scenario, options.machine, at_s, options.seed)) + "\n")
    if options.out is not None:
        write_recording(scenario, options.machine, at_s, options.seed, options.out, options.captures)
    return 0
