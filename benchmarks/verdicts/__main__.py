"""This file knows the command of the proof harness: `python -m benchmarks.verdicts DATA_FOLDER`."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.verdicts.context import Context
from benchmarks.verdicts.errors import FolderUnfit, ProductRefused
from benchmarks.verdicts.product import Product
from benchmarks.verdicts.protocols import PROTOCOLS
from benchmarks.verdicts.recordings import Head, read_folder
from benchmarks.verdicts.tables import Outcome, write_results

BAD_INPUT = 2
FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the protocols on what is in the folder; 0 also where a target is missed: the tables say so.

    2 is a folder that cannot be used, 1 a product that broke its contract in one of the protocols.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdicts",
        description="Runs the product and the baselines on recordings and prints the tables.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DATA_FOLDER", help="recordings (*.npz), also below")
    parser.add_argument("--only", nargs="+", choices=list(PROTOCOLS), default=list(PROTOCOLS), metavar="PROTOCOL",
                        help=f"run these alone: {', '.join(PROTOCOLS)}")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write verdicts.md and results.json there")
    parser.add_argument(
        "--quick", action="store_true", help="one target a data set, two lives, and the best baseline alone"
    )
    options = parser.parse_args(arguments)
    try:
        heads = read_folder(options.folders, _tell)
    except FolderUnfit as error:
        _tell(f"verdicts: {error}")
        return BAD_INPUT
    outcomes = _run(heads, options)
    if options.out:
        write_results(outcomes, options.out, _command(options))
    return FAILED if any(outcome.failed for outcome in outcomes) else 0


def _run(heads: list[Head], options: argparse.Namespace) -> list[Outcome]:
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="verdicts-") as folder:
        product = Product(Path(folder), _tell)
        context = Context(heads, product, _tell, quick=options.quick)
        wanted = [name for name in PROTOCOLS if name in options.only]
        for number, name in enumerate(wanted, 1):
            _tell(f"protocol {number}/{len(wanted)}: {name}")
            try:
                outcome = PROTOCOLS[name](context)
            except ProductRefused as error:
                outcome = Outcome(name, name, "The product did not do what its contract says.", str(error), failed=True)
            outcome.remarks = list(dict.fromkeys(product.remarks))
            product.remarks.clear()
            outcomes.append(outcome)
            print(outcome, end="\n\n", flush=True)
    return outcomes


def _command(options: argparse.Namespace) -> str:
    """The command as another would repeat it; where the folder lies is theirs."""
    words = ["python -m benchmarks.verdicts DATA_FOLDER"]
    if options.only != list(PROTOCOLS):
        words.append("--only " + " ".join(options.only))
    if options.quick:
        words.append("--quick")
    return " ".join(words)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
