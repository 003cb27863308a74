"""This file knows how a machine's outlook is said: how far damage has come, what waiting costs, what others had."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import words
from dashboard.bearing_stage import STANDS_OUT, BearingSigns, bearing_stage
from dashboard.languages import tr
from dashboard.pages.addresses import case_address, machine_address
from dashboard.pages.links import link, plain, show_list
from dashboard.queries.cases import SimilarCase
from dashboard.waiting import stop_cost, waits
from schemas.asset_table import StopCost
from schemas.messages import RemainingLife

LONGEST_TOLD = 160  # characters of what somebody wrote


@dataclass(frozen=True, slots=True)
class Outlook:
    """What was read for it.

    Attributes:
        cause: The likeliest cause of the open case; empty where there is none.
        signs: Of a bearing's damage; None where the cause is none of a bearing, or no spectra are there.
        similar: Cases of other machines of the same kind with this cause.
    """

    cause: str = ""
    signs: BearingSigns | None = None
    similar: tuple[SimilarCase, ...] = ()


def show_stage(signs: BearingSigns | None) -> None:
    """Say how far a bearing's damage has come, and by which signs."""
    if signs is None:
        return
    stage = bearing_stage(signs)
    if stage is None:
        st.markdown(
            tr(
                "**Stage of the bearing damage: not told.** Its lines stand neither in the envelope nor in the "
                "spectrum of this capture; stage 1 rings only in the ultrasound, which is not measured."
            )
        )
    else:
        st.markdown(f"**{tr('Bearing damage, stage {number} of 4', number=stage)}**: {stage_words(stage)}")
    st.caption(" · ".join(sign_words(signs)))


def stage_words(stage: int) -> str:
    """What a stage means, and what to do; shares of life are rules of thumb of the trade."""
    return {
        2: tr("it shows in the envelope, not yet in the spectrum. By rule of thumb 5 to 10 % of the bearing's life is "
              "left: order it and plan the change."),
        3: tr("its lines stand in the spectrum itself, wear can be seen. By rule of thumb 1 to 5 % is left: replace it "
              "now. An envelope that falls from here on is no recovery."),
        4: tr("the floor and 1x have risen, the end is near. Single lines and the envelope may fall now: that looks "
              "like a recovery and is none."),
    }[stage]  # fmt: skip


def sign_words(signs: BearingSigns) -> list[str]:
    """What was looked at, one sign each."""
    said = [tr("lines in the envelope: yes") if signs.in_envelope else tr("lines in the envelope: no")]
    if signs.in_spectrum is None:
        said.append(tr("spectrum too coarse to tell its lines"))
    else:
        said.append(
            tr("{count} of the first 3 lines {times} times above the floor of the spectrum",
               count=signs.in_spectrum, times=f"{STANDS_OUT:g}")
        )  # fmt: skip
    for name, ratio in ((tr("floor"), signs.floor), (tr("1x"), signs.shaft)):
        said.append(
            tr("{name}: no healthy spectrum to compare with", name=name) if ratio is None
            else tr("{name} {times} times the healthy one", name=name, times=words.number(ratio, digits=2))
        )  # fmt: skip
    return said


def show_waiting(life: RemainingLife | None, stop: StopCost) -> None:
    """Say what waiting costs beyond the date, or what is missing to say it."""
    first, *more = waiting_lines(life, stop)
    st.markdown("\n\n".join((first, "\n".join(f"- {line}" for line in more))))


def waiting_lines(life: RemainingLife | None, stop: StopCost) -> list[str]:
    """What waiting costs, one line each."""
    lines = []
    whole = stop_cost(stop)
    if stop.per_h is None:
        lines.append(
            tr(
                "What waiting costs in money is not known: nobody has entered what a stop of this machine costs "
                "(Settings, Assets: stop_cost_per_h, currency, stop_h)."
            )
        )
    elif whole is None:
        lines.append(
            tr("An unplanned stop costs **{cost} an hour**; how long one lasts (stop_h) is not in the table of assets.",
               cost=money(stop.per_h, stop.currency))
        )  # fmt: skip
    else:
        lines.append(
            tr("An unplanned stop costs about **{cost}**: {hours} h at {an_hour} an hour.",
               cost=money(whole, stop.currency), hours=f"{stop.hours:g}", an_hour=money(stop.per_h, stop.currency))
        )  # fmt: skip
    for wait in waits(life, stop) if life is not None else ():
        days = words.span(wait.days * 86_400.0)
        chance = tr("Waiting {span}: fails meanwhile with a chance of {share}", span=days, share=f"{wait.chance:.0%}")
        cost = "" if wait.cost is None else tr(", costs {cost} on average", cost=money(wait.cost, stop.currency))
        lines.append(f"{chance}{cost}.")
    return lines


def money(amount: float, currency: str | None) -> str:
    """An amount with its currency, with no more digits than such a guess has."""
    rough = float(f"{amount:.2g}") if amount >= 100 else amount
    grouped = f"{rough:,.0f}".replace(",", "\u202f")
    return f"{grouped} {currency or ''}".rstrip()


def show_similar(similar: Sequence[SimilarCase], cause: str, zone: str | None) -> None:
    """List cases of other machines of the same kind with the same cause, and how they ended."""
    if not cause:
        return
    st.markdown(f"**{tr('Similar cases elsewhere in this plant')}**")
    if not similar:
        st.caption(tr("None: no other machine of this kind has had a case of {cause} that is over.",
                      cause=words.cause(cause)))  # fmt: skip
        return
    show_list([similar_line(one, zone) for one in similar])


def similar_line(one: SimilarCase, zone: str | None) -> str:
    """Say one case: which machine, when, how long it stood, how it ended."""
    number = tr("Case {number}", number=one.case_id)
    stood = "" if one.closed_at_us is None else words.span((one.closed_at_us - one.opened_at_us) / 1e6)
    opened = words.moment(one.opened_at_us, zone)[:10]
    when = tr("{day}, over after {span}", day=opened, span=stood) if stood else opened
    kinds = {
        "label": tr("cause named"), "maintenance": tr("maintenance"), "note": tr("note"), "closed": tr("closed"),
    }  # fmt: skip
    told = [f"{kinds.get(kind, kind)}: {text}" if text else kinds.get(kind, kind) for kind, text in one.told]
    said = "; ".join(part if len(part) <= LONGEST_TOLD else part[: LONGEST_TOLD - 1] + "…" for part in told)
    address = link(one.title, machine_address(one.machine))
    return (
        f"{address}, {link(number, case_address(one.case_id))}, {plain(when)}: {plain(said or tr('nothing was said'))}"
    )
