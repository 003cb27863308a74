"""This file knows golden vectors: inputs and the outputs they must give, kept beside the graphs, read without JAX.

One array per name, `<graph>.in.<input>` and `<graph>.out.<output>`; what several graphs take alike is kept once, as
`<graph>+<graph>.in.<input>`. Case k takes row k of an input, counted round where there are fewer rows than cases:
large vectors serve several cases. An output row holds either all elements or, to keep the file small, evenly spaced
ones from element k on: every `cases`-th, so that all cases together cover it, or rarer where that were too many.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aggregator.foundry.errors import ArtefactError

Rows: TypeAlias = dict[str, NDArray[np.floating]]
Feed: TypeAlias = dict[str, NDArray[np.float32]]
Run: TypeAlias = Callable[[Mapping[str, NDArray[np.float32]]], Mapping[str, NDArray[Any]]]

WHOLE_UP_TO = 512  # elements of an output that are all kept; of a longer one at most so many a case
SMALLEST_NORM = 1e-12  # an expected zero is met by zero alone


@dataclass(frozen=True, slots=True)
class GoldenGraph:
    """The cases of one graph; `inputs` and `outputs` have one row per case, or fewer to be counted round."""

    cases: int
    inputs: Rows
    outputs: Rows

    def feed(self, case: int) -> Feed:
        return {name: np.asarray(rows[case % len(rows)], np.float32) for name, rows in self.inputs.items()}

    def errors(self, run: Run, updates: Mapping[str, str]) -> dict[str, float]:
        """Run every case and give each output's worst relative L2 error.

        Args:
            run: Computes the graph: feeds by name to results by name.
            updates: Outputs that are new values of an input; what is compared is the difference of the two, since a
                wrong gradient hides behind the parameters it is added to.
        """
        worst = dict.fromkeys(self.outputs, 0.0)
        for case in range(self.cases):
            feed = self.feed(case)
            results = run(feed)
            for name, rows in self.outputs.items():
                start = np.zeros(1) if name not in updates else self._kept(case, feed[updates[name]], rows)
                found = self._kept(case, results[name], rows) - start
                wanted = rows[case].astype(np.float64) - start
                worst[name] = max(worst[name], relative_error(found, wanted))
        return worst

    def _kept(self, case: int, values: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.float64]:
        return kept(np.asarray(values, np.float64), case, self.cases, rows.shape[1])


def kept(values: NDArray[Any], case: int, cases: int, count: int) -> NDArray[Any]:
    """Choose the `count` elements a golden row holds: all of them, or evenly spaced ones from the case's own number."""
    flat = np.ravel(values)
    apart = max(cases, flat.size // max(count, 1))
    return flat if count == flat.size else np.take(flat, case + apart * np.arange(count), mode="wrap")


def kept_count(size: int, cases: int) -> int:
    return size if size <= WHOLE_UP_TO else min(-(-size // cases), WHOLE_UP_TO)


def relative_error(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """|found - wanted| / |wanted| in the L2 norm; infinite if `found` is not finite."""
    error = float(np.linalg.norm(found - wanted)) / max(float(np.linalg.norm(wanted)), SMALLEST_NORM)
    return error if math.isfinite(error) else math.inf


def to_bytes(graphs: Mapping[str, GoldenGraph]) -> bytes:
    """Write an `.npz`; the same vectors give the same bytes."""
    takers: dict[tuple[str, bytes], list[str]] = {}
    inputs: dict[tuple[str, bytes], NDArray[np.floating]] = {}
    for graph, golden in graphs.items():
        for name, rows in golden.inputs.items():
            takers.setdefault((name, rows.tobytes()), []).append(graph)
            inputs[name, rows.tobytes()] = rows
    arrays = {f"{'+'.join(takers[key])}.in.{key[0]}": rows for key, rows in inputs.items()}
    for graph, golden in graphs.items():
        arrays |= {f"{graph}.out.{name}": rows for name, rows in golden.outputs.items()}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def from_bytes(content: bytes, cases: int) -> dict[str, GoldenGraph]:
    """Read an `.npz` of golden vectors whose digest was checked.

    Raises:
        ArtefactError: It is not of this form.
    """
    graphs: dict[str, GoldenGraph] = {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            for key in archive.files:
                takers, side, name = key.split(".")
                rows = archive[key]
                for graph in takers.split("+"):
                    golden = graphs.setdefault(graph, GoldenGraph(cases, {}, {}))
                    {"in": golden.inputs, "out": golden.outputs}[side][name] = rows
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"golden vectors cannot be read ({error}); build the folder again") from error
    for graph, golden in graphs.items():
        fit = all(rows.ndim == 2 and len(rows) == cases for rows in golden.outputs.values())
        if not fit or any(rows.ndim == 0 or not len(rows) for rows in golden.inputs.values()):
            raise ArtefactError(f"golden vectors of {graph} are not {cases} cases; build the folder again")
    return graphs
