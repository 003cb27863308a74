"""This file knows how the command line of a back-test becomes a back-test."""

import argparse
import math
import sys

from gateway_agent.backtest import BacktestOptions, expand_lists, parse_cut, run_backtest, run_life
from gateway_agent.builtin import builtin_model
from gateway_agent.errors import BacktestError
from gateway_agent.model_slot import ModelSlot
from gateway_agent.scoring import Model
from schemas.nameplate import load_nameplate
from schemas.release import read_release_folder
from schemas.signing import KeyRing


def backtest(options: argparse.Namespace) -> int:
    """Run what was asked for; results only in the named file.

    Raises:
        BacktestError, ContractError: Bad input; the message names the file and the reason.
    """
    _check(options)
    plate = load_nameplate(options.nameplate) if options.nameplate else None
    chosen = BacktestOptions(options.window_s, options.false_alarm_rate, plate, options.score_only, options.detector)
    model = _model(options)
    if options.life:
        run_life(
            model, lives=[parse_cut(f) for f in expand_lists(options.life)], share=options.commission_share,
            options=chosen, out=options.out, progress=_tell,
        )  # fmt: skip
    else:
        run_backtest(
            model, commission=[parse_cut(f) for f in expand_lists(options.commission)],
            captures=[parse_cut(f) for f in expand_lists(options.captures)], options=chosen, out=options.out,
            progress=_tell,
        )  # fmt: skip
    return 0


def _check(options: argparse.Namespace) -> None:
    if not (math.isfinite(options.window_s) and options.window_s > 0):
        raise BacktestError(f"--window-s {options.window_s} found; seconds above 0 needed")
    if not 0 < options.false_alarm_rate <= 0.2:
        raise BacktestError(f"--false-alarm-rate {options.false_alarm_rate} found; above 0, at most 0.2 allowed")
    if not 0 <= options.commission_share < 1:
        raise BacktestError(f"--commission-share {options.commission_share} found; 0 to below 1 allowed")


def _model(options: argparse.Namespace) -> Model:
    if options.release is None:
        return builtin_model()
    release = read_release_folder(options.release, KeyRing.load(options.keys) if options.keys else KeyRing([]))
    if not release.trusted:
        _tell(f"warning: release {options.release} is signed by {release.signer}, a key that is not on the list")
    slot = ModelSlot()
    slot.load(release)
    return slot


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
