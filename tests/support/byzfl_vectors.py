"""This file knows how the committed figures of ByzFL come about, and makes them again.

ByzFL brings PyTorch and torchvision, several GB, so it is in no extra and no lock file: a virtual environment of its
own, made once, does. Updates and numbers of wrong members are the committed file's; what ByzFL makes of them is not.

    python3 -m venv /tmp/byzfl && /tmp/byzfl/bin/pip install byzfl==0.0.11
    /tmp/byzfl/bin/python tests/support/byzfl_vectors.py            # exit 1 where a figure differs in a single bit
    /tmp/byzfl/bin/python tests/support/byzfl_vectors.py --write
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

BYZFL = "0.0.11"
VECTORS = Path(__file__).parents[1] / "unit" / "learning" / f"merge_vectors_byzfl_{BYZFL.replace('.', '_')}.json"
RADIUS = 1.5


def expected_of(deltas: list[list[float]], wrong: int) -> dict[str, Any]:
    """What ByzFL makes of updates (n, P); each rule gets its own copy, because some of them write into it."""
    import byzfl  # from an environment of its own

    def told(rule: Any, rows: Any = deltas) -> Any:
        return np.array(rule(np.array(rows))).tolist()

    mixed = told(byzfl.NNM(wrong))
    return {
        "mean": told(byzfl.Average()),
        "median": told(byzfl.Median()),
        "trimmed_mean": told(byzfl.TrMean(wrong)),
        "krum": told(byzfl.Krum(wrong)),
        "multi_krum": told(byzfl.MultiKrum(wrong)),
        "geometric_median": told(byzfl.GeometricMedian(nu=1e-9, T=2000)),
        "centred_clipping": told(byzfl.CenteredClipping(L=3, tau=RADIUS)),
        "nearest_neighbour_mixing": mixed,
        "robust": told(byzfl.TrMean(wrong), mixed),
        "clipped": told(byzfl.Clipping(RADIUS)),
    }


def text_of(known: dict[str, Any]) -> str:
    """The file: a case a line."""
    cases = [
        {**case, "expected": expected_of(case["deltas"], case["wrong"])} for case in known["cases"]
    ]  # keys keep their order
    head = f'{{"made_with":{json.dumps(known["made_with"])},"settings":{_compact(known["settings"])},"cases":[\n'
    return head + ",\n".join(_compact(case) for case in cases) + "]}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main() -> int:
    """Compare or write; 2 where another ByzFL is installed."""
    if version("byzfl") != BYZFL:
        print(f"byzfl {version('byzfl')} is installed, the figures are of {BYZFL}", file=sys.stderr)
        return 2
    committed = VECTORS.read_text()
    made = text_of(json.loads(committed))
    if sys.argv[1:] == ["--write"]:
        VECTORS.write_text(made)
    elif made != committed:
        print(f"{VECTORS.name} differs from what byzfl {BYZFL} gives here", file=sys.stderr)
        return 1
    else:
        print(f"{VECTORS.name}: the same to the last bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
