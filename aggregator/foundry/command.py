"""This file knows the words of `aggregator foundry`: list, build, verify."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from aggregator.foundry.artefacts import BUILT, SPEC_FILE, BuiltSpec
from aggregator.foundry.errors import FoundryError, MissingExtraError
from aggregator.foundry.families import FAMILIES, DenseAutoencoder
from schemas.model_errors import ModelError
from schemas.training_graph import StepInput


def add_arguments(subparsers: Any) -> None:
    """Add `foundry` to the aggregator's commands."""
    foundry = subparsers.add_parser("foundry", help="build and check the graphs gateways train and score with")
    words = foundry.add_subparsers(dest="foundry_word", required=True)
    words.add_parser("list", help="name the families, and the graphs that ship with the product")
    build = words.add_parser("build", help="write the graphs of a family (needs the extra foundry)")
    build.add_argument("--family", default=DenseAutoencoder.name, choices=sorted(FAMILIES))
    build.add_argument("--features", type=int, default=48, help="model features of one sample (default 48)")
    build.add_argument("--out", type=Path, help="folder to write to (default: named after family and features)")
    verify = words.add_parser("verify", help="check digests, operators and golden vectors of built folders")
    verify.add_argument("folders", type=Path, nargs="*", metavar="DIR", help="default: those that ship")


def run(args: argparse.Namespace) -> int:
    """Carry out a parsed `foundry` command; 0 if it succeeded, 2 with one line on stderr if it could not."""
    try:
        {"list": _list, "build": _build, "verify": _verify}[args.foundry_word](args)
    except (FoundryError, ModelError, OSError) as error:
        print(f"aggregator foundry {args.foundry_word}: {error}", file=sys.stderr)
        return 2
    return 0


def shipped() -> list[Path]:
    """Find the built folders that ship with the product."""
    return sorted(path.parent for path in BUILT.glob(f"*/{SPEC_FILE}"))


def _list(args: argparse.Namespace) -> None:
    del args
    for name, family in sorted(FAMILIES.items()):
        print(f"family {name}: {(family.__doc__ or '').splitlines()[0]}")
    for folder in shipped():
        spec = BuiltSpec.load(folder)
        print(f"built {folder.name}: {spec.features} features, {spec.parameter_spec.count} parameters")
        _print_graphs(spec)


def _build(args: argparse.Namespace) -> None:
    if args.features < 1:
        raise FoundryError(f"--features is {args.features}, at least 1 needed")
    try:
        from aggregator.foundry.build import build
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "jax") from error
    folder = args.out or Path(f"{args.family}_{args.features}")
    spec = build(args.family, args.features, folder)
    print(f"{folder}: {len(spec.graphs)} graphs, {spec.golden.cases} golden cases each")
    _print_graphs(spec)


def _verify(args: argparse.Namespace) -> None:
    from aggregator.foundry.verification import verify

    for folder in args.folders or shipped():
        for report in verify(folder):
            worst = f"worst golden error {report.worst_error:.1e}"
            print(f"{folder.name} {report.name}: holds, {_kilobytes(report.size_bytes)}, {worst}")


def _print_graphs(spec: BuiltSpec) -> None:
    for name, graph in spec.graphs.items():
        print(f"  {name}: {graph.summary} ({_kilobytes(graph.size_bytes)})")
        settings = [each.setting for each in graph.inputs if isinstance(each, StepInput) and each.setting is not None]
        if settings:
            told = (f"{each.name} {each.default:g} ({each.lowest:g} to {each.highest:g})" for each in settings)
            print(f"    settings {', '.join(told)}")
        print(f"    operators {' '.join(graph.ops)}")


def _kilobytes(size_bytes: int) -> str:
    return f"{size_bytes / 1000:.1f} KB"
