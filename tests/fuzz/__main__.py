"""This file knows the command `python -m tests.fuzz TARGET`: atheris on one decoder, or one input once more.

    python -m tests.fuzz capture --seconds 60 --seed 1
    python -m tests.fuzz capture --replay 5543...

Atheris rewrites what is imported here: nothing else in a test run may share this process.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path
from random import Random

from tests.fuzz.mutation import MAX_BYTES, mutated
from tests.fuzz.promise import PromiseBroken, Target, hold_to_promise

OURS = ["schemas", "gateway_agent", "aggregator"]
FRAMED, PLAIN = b"\1", b"\0"
LONGEST_S = 20  # for one input, before it counts as a hang
RESIDENT_MB = 2048


def main() -> int:
    """Fuzz until the time is over (exit code 0) or a promise is broken (not 0)."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one decoder.")
    parser.add_argument("target", metavar="TARGET", help="a name of tests/fuzz/targets.py")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1, help="from 1; 0 would be another one each time")
    parser.add_argument("--replay", metavar="HEX", help="bytes as a failure printed them, - for none")
    asked = parser.parse_args()
    if asked.replay is not None:
        return _replay(asked.target, b"" if asked.replay == "-" else bytes.fromhex(asked.replay))
    return _fuzz(asked.target, asked.seconds, asked.seed)


def _target(name: str) -> Target:
    from tests.fuzz.targets import BY_NAME

    if name not in BY_NAME:
        raise SystemExit(f"{name!r} found; one of {', '.join(BY_NAME)} allowed")
    return BY_NAME[name]


def _replay(name: str, content: bytes) -> int:
    try:
        was_read = hold_to_promise(_target(name), content)
    except PromiseBroken as broken:
        print(broken)
        return 1
    print(f"{name} {'reads' if was_read else 'refuses'} these {len(content)} bytes")
    return 0


def _fuzz(name: str, seconds: int, seed: int) -> int:
    import atheris

    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(OURS, enable_loader_override=False):
        target = _target(name)
    starts = (*target.seeds, *target.refused)

    def hold(given: bytes) -> None:
        hold_to_promise(target, target.frame(given[1:]) if given[:1] == FRAMED else given[1:])

    def change(given: bytes, most_bytes: int, number: int) -> bytes:
        """Half of the changes are libFuzzer's own, half those that know JSON and lengths."""
        if number % 2:
            return bytes(atheris.Mutate(given, most_bytes))
        return (given[:1] + mutated(given[1:], starts, Random(number)))[:most_bytes]

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for number, start in enumerate(starts):
            (Path(folder) / f"framed-{number}").write_bytes(FRAMED + start)
            (Path(folder) / f"plain-{number}").write_bytes(PLAIN + target.frame(start))
        print(f"{name}: {seconds} s with seed {seed}", flush=True)
        limits = {"max_total_time": seconds, "seed": seed, "max_len": MAX_BYTES, "timeout": LONGEST_S,
                  "rss_limit_mb": RESIDENT_MB, "artifact_prefix": f"{folder}/"}  # fmt: skip
        arguments = [sys.argv[0], folder, *(f"-{key}={value}" for key, value in limits.items())]
        atheris.Setup(arguments, hold, custom_mutator=change)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
