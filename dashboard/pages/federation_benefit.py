"""This file knows how it is shown whom the learning serves: each machine against one that learnt alone, worst first."""

import streamlit as st

from dashboard import words
from dashboard.languages import tr
from dashboard.learning_state import MARGIN, Benefit, benefit
from dashboard.pages.addresses import machine_address
from dashboard.queries.federation import FITS, FitRecord, count_machines, read_fits
from dashboard.runtime import Dashboard


def show_benefit(board: Dashboard) -> None:
    """Show every comparison; those that are worse off are counted first and never hidden."""
    with board.reader.read() as connection:
        fits = read_fits(connection)
        machines = count_machines(connection)
    st.caption(
        tr(
            "Each gateway lets a model of its own learn from one machine alone, with as many steps as the fleet's has "
            "had, and compares both on captures neither has seen: how well faults made from healthy captures are told "
            "from healthy ones (AUROC: 0.5 is chance, 1 is never wrong)."
        )
    )
    if not fits:
        st.markdown(
            tr(
                "**Nothing to compare yet.** A gateway compares when it runs a release of the fleet and a machine has "
                "enough healthy captures that were held back."
            )
        )
        return
    found = benefit(fits)
    st.markdown(benefit_words(found, machines))
    rows = [fit_row(fit, board.now_us()) for fit in (*found.worse, *found.same, *found.better)]
    st.dataframe(
        rows, hide_index=True, width="stretch",
        column_config={
            tr("Machine"): st.column_config.LinkColumn(tr("Machine"), display_text=r"machine=(.+)"),
        },
    )  # fmt: skip
    if len(fits) == FITS:
        st.caption(tr("The {count} that gain least are shown.", count=FITS))
    if found.worse:
        st.markdown(
            tr(
                "**What to do about a machine that is worse off:** look at its hold-out first: few captures make "
                "chance. If it stays so over two releases, its kind of machine is missing among the members: enrol "
                "another one, or keep that gateway out of the learning (`take_part = false` under `learning` in "
                "gateway.toml)."
            )
        )


def benefit_words(found: Benefit, machines: int) -> str:
    """Count them."""
    compared = {fit.machine for fit in (*found.worse, *found.same, *found.better)}
    worse = len({fit.machine for fit in found.worse})
    head = (
        tr("**✕ {count} of {all} machines are worse off** with the fleet's model than alone.",
           count=worse, all=len(compared))
        if worse
        else tr("None of {all} machines is worse off with the fleet's model than alone.", all=len(compared))
    )  # fmt: skip
    rest = tr("{better} better off, {same} the same (less than {margin} apart).", better=len(found.better),
              same=len(found.same), margin=f"{MARGIN:g}")  # fmt: skip
    open_ones = machines - len(compared)
    if open_ones > 0:
        rest += " " + tr("{count} machines were not compared: too few healthy captures so far.", count=open_ones)
    return f"{head} {rest}"


def fit_row(fit: FitRecord, now_us: int) -> dict[str, str]:
    """One machine."""
    mark = "✕ " + tr("worse off") if fit.gain < -MARGIN else "✓ " + tr("better off") if fit.gain > MARGIN else "="
    return {
        tr("Machine"): machine_address(fit.machine),
        tr("Name"): fit.title,
        tr("With the fleet"): mark if mark != "=" else "= " + tr("the same"),
        tr("Gain, AUROC"): f"{fit.gain:+.3f}",
        tr("Fleet"): f"{fit.auroc:.3f}",
        tr("Alone"): f"{fit.auroc_local:.3f}",
        tr("Loss, fleet / alone"): f"{fit.loss:.4g} / {fit.loss_local:.4g}",
        tr("Held-back captures"): str(fit.rows),
        tr("Release"): str(fit.release_version),
        tr("Gateway"): fit.gateway,
        tr("When"): words.age((now_us - fit.at_us) / 1e6),
    }
