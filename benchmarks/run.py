"""This file knows the command of the benchmarks: `python -m benchmarks.run [--only NAME]`, which `make bench` calls."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    async_tiers,
    dashboard,
    federation_memory,
    historian_rate,
    hot_swap,
    ingest_path,
    kernel,
    many_sensors,
    merge_speed,
    receiving,
    rounds,
    selection,
    training_step,
    verdict_cost,
    virtual_gateways,
)
from benchmarks.figures import Figure, table, write_figures
from benchmarks.personalisation import figures as personalisation
from benchmarks.robust_rules import figures as robust_rules
from gateway_agent.memory import tune_allocator

RESULTS = Path("bench/results.json")
BENCHMARKS: dict[str, Callable[[], Figure]] = {
    one.__name__: one
    for one in (
        kernel.kernel_ratio_to_fft,
        ingest_path.latency_end_of_capture_to_score,
        ingest_path.path_ratio_to_mosquitto_sub,
        ingest_path.path_ratio_without_raw,
        ingest_path.path_ratio_to_straightforward,
        ingest_path.latency_tail_ratio,
        ingest_path.gateway_resident_mb,
        hot_swap.hot_swap_added_ms,
        *receiving.FIGURES,
        merge_speed.merge_speed_ratio,
        *rounds.FIGURES,
        *federation_memory.FIGURES,
        *virtual_gateways.FIGURES,
        *async_tiers.FIGURES,
        *selection.FIGURES,
        *historian_rate.FIGURES,
        *dashboard.FIGURES,
        *many_sensors.FIGURES,
        *training_step.FIGURES,
        *personalisation.FIGURES,
        *robust_rules.FIGURES,
        verdict_cost.features_and_score_ms,
        verdict_cost.diagnosis_ms,
        verdict_cost.release_kb,
        verdict_cost.false_cases_per_machine_month,
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, keep the results; 0 also when a promise is not kept: the table says so."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measures every figure that is promised.")
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="measure one")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go (bench/results.json)")
    options = parser.parse_args(arguments)
    tune_allocator()
    figures = []
    for name, measure in BENCHMARKS.items():
        if options.only in {None, name}:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            figures.append(measure())
            write_figures(figures, options.out)
    print(table(figures))
    for figure in figures:
        print(f"{figure.name}: {figure.note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
