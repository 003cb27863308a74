"""This file knows how a release is watched and steered: its stage, its history, its shadow, and the four buttons.

Which release is meant goes with every request by its number, never by what a page shows when it is pressed.
"""

from collections.abc import Iterable

import streamlit as st

from dashboard import round_words, sentences, words
from dashboard.languages import tr
from dashboard.pages import drawings
from dashboard.pages.asking import ask, explain_may_not, may, show_asked
from dashboard.pages.notice import show_notice
from dashboard.queries.federation import (
    Federation,
    ReleaseEvent,
    ReleaseRecord,
    RolloutRecord,
    read_release_events,
    read_rollouts,
)
from dashboard.runtime import Dashboard
from schemas.messages import ShadowSummary
from schemas.requests import FIRST_OF_TWO, SECOND_WITHIN_S, Action

STAGES = ("shadow", "canary", "staged", "everywhere")
PLACE = "releases"
MAX_NOTE = 500
LIMIT_BIN = 13  # of scores in limits: 26 bins of which 24 lie between 0.05 and 20; from this one on they exceed


def show_releases(board: Dashboard, found: Federation, wanted: int | None) -> None:
    """Show one release, by number, or the one on its way, or the current one; and the list of all."""
    if not found.releases:
        st.markdown(tr("**No release yet:** gateways judge by the model that came with the product."))
        return
    chosen = next((one for one in found.releases if one.version == wanted), None)
    if wanted is not None and chosen is None:
        st.markdown(tr("This site keeps no release {number}. The one that matters now is shown.", number=wanted))
    chosen = chosen or release_in_question(found.releases)
    with board.reader.read() as connection:
        rollouts = read_rollouts(connection, chosen.version)
        events = read_release_events(connection, chosen.version)
    st.subheader(tr("Release {version}, {state}", version=chosen.version,
                    state=round_words.release_state(chosen.state)))  # fmt: skip
    drawings.show_steps(stage_steps(chosen))
    _show_standing(chosen, board.now_us())
    if waits := second_person_words(chosen, events, board.now_us()):
        show_notice(waits)
    show_asked(board, PLACE)
    _show_desk(board, chosen)
    _show_gateways(chosen, rollouts, board.now_us(), sites=takers_are_sites(rollouts, found))
    _show_shadow(chosen, rollouts)
    _show_history(events)
    st.subheader(tr("All releases"))
    st.dataframe(
        [release_row(one, board.now_us()) for one in found.releases], hide_index=True, width="stretch",
        column_config={
            tr("Release"): st.column_config.LinkColumn(tr("Release"), display_text=r"release=(\d+)", width="small")
        },
    )  # fmt: skip


def release_in_question(releases: Iterable[ReleaseRecord]) -> ReleaseRecord:
    """The candidate on its way; else the current one; else the newest."""
    known = list(releases)
    on_its_way = (one for one in known if one.state == "candidate" and one.stage not in {None, "withdrawn"})
    current = (one for one in known if one.state == "current")
    return next(on_its_way, None) or next(current, None) or known[0]


def stage_steps(one: ReleaseRecord) -> list[drawings.Step]:
    """The way of a release, and how far it has come."""
    titles = {
        "made": tr("made, signed"), "shadow": tr("gate and shadow"), "canary": tr("canary"),
        "staged": round_words.stage_word("staged", one.share if one.stage == "staged" else None),
        "everywhere": tr("everywhere"),
    }  # fmt: skip
    way = ("made", *STAGES)
    ended = one.state in {"superseded", "withdrawn", "passed_over"}
    at = way.index(one.stage) if one.stage in STAGES else 4 if one.state in {"current", "superseded"} else 0
    steps = [
        drawings.Step(
            titles[name],
            "done" if number < at or (number == at and at == 4) else "here" if number == at and not ended else "todo",
        )
        for number, name in enumerate(way)
    ]
    if one.state == "withdrawn":
        return [*(step for step in steps if step.state == "done"), drawings.Step(tr("taken back"), "here")]
    return steps


def offered_actions(one: ReleaseRecord) -> list[Action]:
    """What can be asked of a release as it stands."""
    actions: list[Action] = []
    if one.state == "candidate" and one.stage is not None:
        actions = ["promote_release", "resume_rollout" if one.paused else "pause_rollout"]
    return [*actions, "roll_back_release"] if one.state in {"candidate", "current"} else actions


def action_words(action: Action, version: int) -> str:
    """What a button says."""
    return {
        "promote_release": tr("Send release {version} to its next stage", version=version),
        "pause_rollout": tr("Stop release {version} where it is", version=version),
        "resume_rollout": tr("Let release {version} go on", version=version),
        "roll_back_release": tr("Take release {version} back", version=version),
    }[action]


def action_effect(action: Action) -> str:
    """What it does."""
    return {
        "promote_release": tr("It does not wait any longer; what speaks against it still counts."),
        "pause_rollout": tr("Gateways that run it keep it; no further one gets it. It is still watched."),
        "resume_rollout": tr("It goes on from the stage it is in."),
        "roll_back_release": tr("Where it runs, the release before comes back under a higher number."),
    }[action]


def _show_standing(one: ReleaseRecord, now_us: int) -> None:
    since = "" if one.stage_at_us is None else ", " + words.age((now_us - one.stage_at_us) / 1e6)
    parts = [f"**{round_words.stage_word(one.stage, one.share)}**{since}"]
    if one.paused:
        parts.append(f"**{tr('stopped by a person')}**")
    if one.stage_text:
        parts.append(words.plain(sentences.said(one.stage_text)))
    st.markdown(" · ".join(parts))
    if one.asked:
        who = words.plain(str(one.asked.get("actor", "")))
        st.caption(tr("{who} has asked for a change; the site carries it out within seconds.", who=who))


def second_person_words(one: ReleaseRecord, events: Iterable[ReleaseEvent], now_us: int) -> str:
    """Say who was the first of two to want a release taken back; empty when nobody was lately, or two were."""
    if one.asked or one.state not in {"candidate", "current"}:
        return ""
    lately_us = now_us - SECOND_WITHIN_S * 1e6
    who = next((e.actor for e in events if e.text.startswith(FIRST_OF_TWO) and e.at_us >= lately_us), "")
    text = tr("{who} wants it taken back; it is, once a second person asks for the same within an hour.", who=who)
    return words.plain(text) if who else ""


def _show_desk(board: Dashboard, one: ReleaseRecord) -> None:
    actions = offered_actions(one)
    if not actions:
        return
    if not any(may(board, action) for action in actions):
        explain_may_not(board, actions[0])
        return
    with st.container(horizontal=True):
        for action in actions:
            with st.popover(action_words(action, one.version)):
                _action_form(board, one, action)


def _action_form(board: Dashboard, one: ReleaseRecord, action: Action) -> None:
    st.markdown(action_effect(action))
    with st.form(f"{action}:{one.version}", border=False, clear_on_submit=True):
        note = st.text_area(
            tr("Why (others will read it)"), key=f"note:{action}:{one.version}", max_chars=MAX_NOTE, height=80
        )
        sure = st.checkbox(tr("Yes, release {version}", version=one.version), key=f"sure:{action}:{one.version}")
        pressed = st.form_submit_button(action_words(action, one.version), type="primary")
    if not pressed:
        return
    if not sure:
        show_notice(tr("Nothing was asked: tick that you mean release {version}.", version=one.version))
    elif action == "roll_back_release" and not (note or "").strip():
        show_notice(tr("Nothing was asked: say why it is taken back."))
    elif ask(
        board, PLACE, action_words(action, one.version), action, note=note or "",
        values={"release_version": one.version},
    ):  # fmt: skip
        st.rerun()


def takers_are_sites(rollouts: Iterable[RolloutRecord], found: Federation) -> bool:
    """Whether those who were given a release are sites below an enterprise: no gateway has such a name here."""
    names = {entry.gateway for entry in rollouts}
    return bool(names) and names.isdisjoint(one.gateway for one in found.gateways)


def turned_down_words(one: ReleaseRecord, rollouts: Iterable[RolloutRecord]) -> str:
    """Say which sites do not use a release of the enterprise, and why; empty when there is none."""
    said = []
    for entry in rollouts:
        site = words.plain(entry.gateway)
        why = words.plain(sentences.said(entry.text)).rstrip(".") or tr("no reason was given")
        if entry.state == "withdrawn":
            said.append(
                tr("**{site}** tried release {version} and took it back: {why}.", site=site, version=one.version,
                   why=why)
            )  # fmt: skip
        elif entry.state == "refused":
            said.append(
                tr("**{site}** does not take release {version}: {why}.", site=site, version=one.version, why=why)
            )
    return "  \n".join(said)


def _show_gateways(
    one: ReleaseRecord, rollouts: tuple[RolloutRecord, ...], now_us: int, *, sites: bool
) -> None:  # fmt: skip
    st.subheader(tr("At the sites") if sites else tr("On the gateways"))
    if not rollouts:
        st.markdown(tr("No gateway has been given it yet."))
        return
    turned_down = turned_down_words(one, rollouts) if sites else ""
    if turned_down:
        show_notice(turned_down)
    st.dataframe([gateway_row(one, entry, now_us, site=sites) for entry in rollouts], hide_index=True, width="stretch")
    if sites and any(entry.gate is not None for entry in rollouts):
        st.caption(
            tr(
                "Gate: what the hold-outs of a site's gateways said together when the release last changed its stage "
                "there. “Before” is the release in use at that site."
            )
        )
    elif any(entry.gate is not None for entry in rollouts):
        st.caption(
            tr(
                "Gate: each gateway judges the candidate on healthy captures it held back, and on faults made from "
                "them. “Before” is the release in use there."
            )
        )


def gateway_row(one: ReleaseRecord, entry: RolloutRecord, now_us: int, *, site: bool = False) -> dict[str, str]:
    """What a release is to one gateway, or to one site."""
    gate, shadow = entry.gate, entry.watched or entry.shadow
    exceeding = words.NOT_KNOWN
    if shadow is not None:
        ours, others = exceeding_of(shadow, one.version)
        exceeding = tr("{ours} of {windows}, before {others}", ours=ours, windows=shadow.windows, others=others)
    return {
        tr("Site") if site else tr("Gateway"): entry.gateway,
        tr("Turn"): str(one.order.index(entry.gateway) + 1) if entry.gateway in one.order else words.NOT_KNOWN,
        tr("State"): {"refused": "✕ ", "withdrawn": "✕ ", "running": "✓ "}.get(entry.state, "")
        + round_words.rollout_state(entry.state),
        tr("Since"): words.age((now_us - entry.at_us) / 1e6),
        tr("Gate: AUROC, before"): _pair((gate.auroc, gate.auroc_in_use) if gate else None),
        tr("Gate: loss, before"): _pair((gate.loss, gate.loss_in_use) if gate else None),
        tr("Gate: false alarms, before"): _pair(
            (gate.false_alarm_rate, gate.false_alarm_rate_in_use) if gate else None, share=True
        ),
        tr("On captures"): words.NOT_KNOWN if gate is None else str(gate.rows),
        tr("Healthy captures over their limit"): exceeding,
        tr("Remark"): "; ".join(sentences.said(said) for said in (entry.text, gate.problem if gate else "") if said),
    }


def exceeding_of(shadow: ShadowSummary, version: int) -> tuple[int, int]:
    """Captures above their limit by one release, and by the other on the same."""
    if shadow.this_version == version:
        return shadow.exceeding_this, shadow.exceeding_in_use
    return shadow.exceeding_in_use, shadow.exceeding_this


def summed_scores(shadows: Iterable[ShadowSummary], version: int) -> tuple[list[int], list[int]]:
    """Histograms of scores in limits of all gateways together: of one release, and of the other on the same."""
    ours: list[int] = []
    others: list[int] = []
    for one in shadows:
        pair = (one.in_limits_this, one.in_limits_in_use)
        mine, rival = pair if one.this_version == version else reversed(pair)
        ours, others = _added(ours, mine), _added(others, rival)
    return ours, others


def _show_shadow(one: ReleaseRecord, rollouts: tuple[RolloutRecord, ...]) -> None:
    shadows = [entry.shadow for entry in rollouts if entry.shadow is not None]
    watched = [entry.watched for entry in rollouts if entry.watched is not None]
    for title, group in (
        (tr("In the shadow: scored beside the release in use, without a say"), shadows),
        (tr("In use: the release before goes on beside it"), watched),
    ):
        ours, others = summed_scores(group, one.version)
        if not sum(ours):
            continue
        st.subheader(title)
        windows = sum(shadow.windows for shadow in group)
        over = [sum(exceeding_of(shadow, one.version)[side] for shadow in group) for side in (0, 1)]
        errors = sum(shadow.errors for shadow in group if shadow.this_version == one.version)
        scale = ("≤ 0.05", tr("limit"), "≥ 20")
        st.markdown(
            tr("**Release {version}** (filled): {over} of {windows} healthy captures over their limit",
               version=one.version, over=over[0], windows=windows)
        )  # fmt: skip
        drawings.show_columns(ours, filled=True, split=LIMIT_BIN, scale=scale)
        st.markdown(
            tr("**The other release** (outlined), same captures: {over} of {windows}", over=over[1], windows=windows)
        )
        drawings.show_columns(others, filled=False, split=LIMIT_BIN, scale=scale)
        st.caption(
            tr(
                "Score in multiples of each point's limit, on a logarithmic scale; heights are square roots, so that "
                "single captures are seen. {errors} captures could not be scored.",
                errors=errors,
            )
        )


def _show_history(events: tuple[ReleaseEvent, ...]) -> None:
    st.subheader(tr("History"))
    if not events:
        st.markdown(tr("Nothing has been written down of this release."))
        return
    zone = st.context.timezone
    for event in events:
        who = tr("by itself") if event.actor == "rollout" else f"**{words.plain(event.actor)}**"
        figures = ", ".join(f"{round_words.figure(name)} {value:.4g}" for name, value in event.figures.items())
        st.markdown(
            f"{words.moment(event.at_us, zone)} · {round_words.stage_word(event.stage)} · {who}  \n"
            f"{words.plain(sentences.said(event.text))}" + (f"  \n:gray[{words.plain(figures)}]" if figures else "")
        )


def release_row(one: ReleaseRecord, now_us: int) -> dict[str, str]:
    """One line of the list."""
    return {
        tr("Release"): f"learning?part=releases&release={one.version}",
        tr("State"): round_words.release_state(one.state),
        tr("Stage"): round_words.stage_word(one.stage, one.share) if one.stage else words.NOT_KNOWN,
        tr("Made"): words.age((now_us - one.created_at_us) / 1e6),
        tr("Made from"): {
            "site": tr("this site's rounds"), "fleet": tr("the fleet's"), "builtin": tr("the product"),
        }.get(one.level, one.level),
        tr("Size"): words.size(one.size_bytes),
        tr("Digest"): one.digest[:12],
        tr("Remark"): one.stage_text,
    }  # fmt: skip


def _pair(found: tuple[float | None, float | None] | None, *, share: bool = False) -> str:
    new, before = found or (None, None)
    if new is None or before is None:
        return words.NOT_KNOWN
    return f"{new:.1%}, {before:.1%}" if share else f"{new:.4g}, {before:.4g}"


def _added(counts: list[int], more: Iterable[int]) -> list[int]:
    new = list(more)
    longest = max(len(counts), len(new))
    padded = [*counts, *[0] * (longest - len(counts))], [*new, *[0] * (longest - len(new))]
    return [one + other for one, other in zip(*padded, strict=True)]
