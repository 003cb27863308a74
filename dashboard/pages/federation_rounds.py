"""This file knows how rounds are shown: one as a strip, its members, the way of the weights, and the list."""

from statistics import median
from typing import Any

import streamlit as st

from dashboard import round_words, words
from dashboard.languages import tr
from dashboard.learning_state import came_late, rejected, unanswered
from dashboard.pages import drawings
from dashboard.pages.links import link, plain, show_list
from dashboard.queries.federation import Federation, RefusedMessage, RoundEntry, UpdateRecord
from dashboard.runtime import Dashboard

SCREEN_FACTOR = 10.0**0.5  # times the median norm: beyond it a site leaves an update out (aggregator/merge/validate.py)
MEMBERS_DRAWN = 12
LISTED = 20


def show_rounds(board: Dashboard, found: Federation, wanted: int | None) -> None:
    """Show one round, by number or the newest, and the list of all."""
    now_us = board.now_us()
    if not found.rounds:
        _explain_none(found)
        return
    entry = next((one for one in found.rounds if one.row.round_id == wanted), None)
    if wanted is not None and entry is None:
        st.markdown(tr("This site knows no round {number}. The newest is shown.", number=wanted))
    entry = entry or found.rounds[0]
    st.subheader(tr("Round {number}", number=entry.row.round_id))
    drawings.show_facts(round_facts(entry, found, now_us))
    if entry.row.text:
        st.caption(words.plain(entry.row.text))
    _show_members(entry, found)
    _show_tree(entry, found)
    _show_norms(found)
    st.subheader(tr("All rounds"))
    st.dataframe(
        [round_row(one, now_us) for one in found.rounds], hide_index=True, width="stretch",
        column_config={
            tr("Round"): st.column_config.LinkColumn(tr("Round"), display_text=r"round=(\d+)", width="small")
        },
    )  # fmt: skip
    st.caption(tr("The newest {count}; each has a link that can be sent.", count=len(found.rounds)))
    if found.refused:
        said = [plain(refused_words(one, now_us)) for one in found.refused]
        show_list(said, title=tr("Messages of the learning that no round could use"))


def round_address(round_id: int) -> str:
    """Where one round is, relative to every page."""
    return f"learning?part=rounds&round={round_id}"


def loss_words(entry: RoundEntry) -> str:
    """Say how the loss on what members held back has changed."""
    before, after = entry.figures.get("loss_before"), entry.figures.get("loss_after")
    if before is None:
        return words.NOT_KNOWN
    if after is None:
        return f"{before:.4g} → {words.NOT_KNOWN}"
    return f"{before:.4g} → {after:.4g}" + (f" ({after / before - 1.0:+.1%})" if before else "")


def round_facts(entry: RoundEntry, found: Federation, now_us: int) -> list[tuple[str, str]]:
    """The strip of one round."""
    row = entry.row
    missing, late = unanswered(entry, found), came_late(entry, found)
    asked = max(row.invited, len(entry.invited))
    chosen = tr("{asked} of {present} present", asked=asked, present=len(entry.why)) if entry.why else str(asked)
    turned_down = rejected(entry, found)
    reasons = sorted({round_words.rejected_because(one.reason) for one in turned_down})
    lasted = tr("still running") if row.ended_at_us is None else words.span((row.ended_at_us - row.started_at_us) / 1e6)
    promoted = (
        tr("release {version}", version=row.release_version) if row.release_version is not None
        else round_words.round_state(row.state)
    )  # fmt: skip
    rows = entry.figures.get("held_back_rows")
    loss = loss_words(entry) + ("" if rows is None else " " + tr("on {rows} captures", rows=f"{rows:.0f}"))
    facts = [
        (tr("Started"), words.age((now_us - row.started_at_us) / 1e6)),
        (tr("Lasted"), lasted),
        (tr("Asked"), chosen),
        (tr("Answered in time"), tr("{count} of {asked}", count=max(0, asked - len(missing) - len(late)), asked=asked)),
        (tr("Late"), str(len(late)) if late else "0"),
        (tr("Accepted"), str(row.accepted)),
        (tr("Rejected"), ": ".join((str(len(turned_down)), *(["; ".join(reasons)] if reasons else [])))),
        (tr("Down / up"), f"{words.size(row.bytes_down)} / {words.size(row.bytes_up)}"),
        (tr("Loss on members' own hold-outs"), loss),
        (tr("Became"), promoted),
    ]
    withstands = withstands_words(entry)
    if withstands is not None:
        facts.append((tr("Withstands"), withstands))
    if entry.late:
        said = ", ".join(
            tr("{member} ({behind} behind, counts {share})", member=str(one.get("member", "")),
               behind=str(one.get("staleness", words.NOT_KNOWN)), share=_share(one.get("share")))
            for one in entry.late
        )  # fmt: skip
        facts.append((tr("Merged from before"), said))
    if entry.for_enterprise:
        facts.append((tr("Asked for by"), tr("the enterprise")))
    return facts


def round_row(entry: RoundEntry, now_us: int) -> dict[str, str]:
    """One line of the list."""
    row = entry.row
    lasted = words.NOT_KNOWN if row.ended_at_us is None else words.span((row.ended_at_us - row.started_at_us) / 1e6)
    return {
        tr("Round"): round_address(row.round_id),
        tr("State"): round_words.round_state(row.state),
        tr("Started"): words.age((now_us - row.started_at_us) / 1e6),
        tr("Lasted"): lasted,
        tr("Accepted"): tr("{count} of {asked}", count=row.accepted, asked=row.invited),
        tr("Rejected"): str(max(0, row.rejected - entry.late_answers - entry.no_answers)),
        tr("Late"): str(entry.late_answers),
        tr("Loss on hold-outs"): loss_words(entry),
        tr("Down / up"): f"{words.size(row.bytes_down)} / {words.size(row.bytes_up)}",
        tr("Release"): words.NOT_KNOWN if row.release_version is None else str(row.release_version),
        tr("Remark"): row.text,
    }


def member_row(update: UpdateRecord, entry: RoundEntry, total: float) -> dict[str, str]:
    """One member of one round: what it gave, and what became of it."""
    figures = update.figures
    before, after = figures.get("loss_before"), figures.get("loss_after")
    return {
        tr("Member"): update.member,
        tr("Verdict"): verdict_words(update, entry),
        tr("Weight"): f"{update.weight:g} ({update.weight / total:.0%})" if update.weight and total else "0",
        tr("Norm"): words.number(update.norm),
        tr("Cosine with the merged"): words.number(figures.get("contribution"), digits=2),
        tr("Its loss before → after"): (
            words.NOT_KNOWN if before is None or after is None else f"{before:.4g} → {after:.4g}"
        ),
        tr("Behind"): words.NOT_KNOWN if "staleness" not in figures else f"{figures['staleness']:.0f}",
        tr("Sent"): words.size(update.size_bytes),
        tr("Asked because"): round_words.chosen_because(entry.why[update.member])
        if update.member in entry.why
        else words.NOT_KNOWN,
        tr("In the site's words"): update.text,
    }


def verdict_words(update: UpdateRecord, entry: RoundEntry) -> str:
    """Say what became of an update; of one that nobody objects to while its round is open, or when it was void."""
    if update.accepted:
        return "✓ " + tr("accepted")
    if update.reason:
        return "✕ " + round_words.rejected_because(update.reason)
    return tr("answered, waits for the merge") if entry.row.ended_at_us is None else tr("its round did not count")


def rejection_words(update: UpdateRecord) -> str:
    """Say why an update does not count, and what to do."""
    told = f" ({update.text})" if update.text else ""
    return (
        f"✕ {update.member}: {round_words.rejected_because(update.reason)}{told} → "
        f"{round_words.what_to_do(update.reason)}"
    )


def refused_words(one: RefusedMessage, now_us: int) -> str:
    """Say what was refused outside of a merge, in whose name, and what to do."""
    return (
        f"✕ {one.member}, {words.age((now_us - one.at_us) / 1e6)}: {round_words.rejected_because(one.reason)} "
        f"({one.text}) → {round_words.what_to_do(one.reason)}"
    )


def withstands_words(entry: RoundEntry) -> str | None:
    """Say how many wrong members a round withstands; None where it was not noted, or is open."""
    wrong, needed = entry.figures.get("withstands"), entry.figures.get("needed")
    if wrong is None or needed is None:
        return None
    if wrong < 1.0:
        return tr("none is promised: {needed} updates needed; of 6 asked, one wrong member is",
                  needed=f"{needed:.0f}")  # fmt: skip
    return tr("{wrong} wrong members: {needed} updates needed", wrong=f"{wrong:.0f}", needed=f"{needed:.0f}")


def _show_members(entry: RoundEntry, found: Federation) -> None:
    updates = found.of_round(entry.row.round_id)
    total = sum(update.weight for update in updates if update.accepted)
    if not updates:
        st.markdown(tr("No member has answered yet."))
        return
    st.dataframe(
        sorted((member_row(update, entry, total) for update in updates), key=lambda row: row[tr("Verdict")][0] != "✕"),
        hide_index=True, width="stretch",
    )  # fmt: skip
    others = [update for update in updates if update.reason]
    if others:
        show_list([plain(rejection_words(update)) for update in others[:LISTED]], title=tr("What does not count"))
    left_out = [name for name, why in entry.why.items() if why in {"not_useful", "cannot"}]
    if left_out:
        said = [plain(f"{name}: {round_words.chosen_because(entry.why[name])}") for name in sorted(left_out)[:LISTED]]
        show_list(said, title=tr("Present and not asked ({count})", count=len(left_out)))


def _show_tree(entry: RoundEntry, found: Federation) -> None:
    """The way of the weights, from the members of a round up."""
    updates = [update for update in found.of_round(entry.row.round_id) if update.accepted]
    if not updates:
        return
    st.subheader(tr("Who weighs how much"))
    total = sum(update.weight for update in updates)
    most = max(update.weight for update in updates)
    bars = [
        drawings.Bar(update.member, update.weight / most if most else 0.0, f"{update.weight / (total or 1.0):.0%}")
        for update in sorted(updates, key=lambda one: (-one.weight, one.member))[:MEMBERS_DRAWN]
    ]
    if len(updates) > MEMBERS_DRAWN:
        bars.append(drawings.Bar(tr("and {count} more", count=len(updates) - MEMBERS_DRAWN), 0.0, ""))
    at_site = entry.row.level == "site"
    merged = drawings.Bar(
        tr("rule {rule}", rule=entry.row.rule or words.NOT_KNOWN), 1.0, tr("{rows} captures", rows=f"{total:g}")
    )
    levels: list[tuple[str, list[drawings.Bar]]] = [
        (tr("Gateways") if at_site else tr("Sites"), bars),
        (tr("This site") if at_site else tr("The enterprise"), [merged]),
    ]
    if at_site:
        levels.append((tr("The enterprise"), _upward(found)))
    drawings.show_tree(levels)


def _upward(found: Federation) -> list[drawings.Bar]:
    if not found.offers:
        return [drawings.Bar(tr("nothing was offered: this site learns for itself"), 0.0, "")]
    words_of = {
        "waiting": tr("waits"), "stored": tr("taken"), "refused": tr("refused"), "given_up": tr("given up"),
    }  # fmt: skip
    return [
        drawings.Bar(
            tr("rounds {first} to {last}", first=offer.first_round, last=offer.last_round), 1.0,
            f"{words_of.get(offer.state, offer.state)}, {tr('{rows} captures', rows=f'{offer.weight:g}')}",
        )
        for offer in found.offers[:3]
    ]  # fmt: skip


def _show_norms(found: Federation) -> None:
    rounds = sorted(entry.row.round_id for entry in found.rounds)
    columns = {round_id: number for number, round_id in enumerate(rounds)}
    dots = [
        drawings.Dot(columns[update.round_id], update.norm, not update.reason, update.member)
        for update in found.updates
        if update.norm is not None and update.norm > 0.0
    ]
    if len(dots) < 3:
        return
    st.subheader(tr("How far updates go"))
    limit = SCREEN_FACTOR * median(dot.value for dot in dots)
    shown = limit if max(dot.value for dot in dots) > 0.5 * limit else None
    drawings.show_plot(dots, [str(number) for number in rounds], limit=shown, limit_title=tr("left out beyond"))
    without = sum(not update.accepted and not update.norm for update in found.updates)
    st.caption(
        tr(
            "Length of each update by round, logarithmic: ● counts, ✕ does not, with its member. Who is far above the "
            "others, again and again, is broken or meddled with."
        )
        + " "
        + tr("{count} without a length are not drawn: they were no numbers, came late or not at all.", count=without)
    )


def _explain_none(found: Federation) -> None:
    if len(found.gateways) == 1:
        name = words.plain(found.gateways[0].gateway)
        st.markdown(
            tr(
                "**A single gateway: local learning only.** {name} learns from its own machines; there is nobody to "
                "learn together with. Rounds begin when a second gateway joins.",
                name=name,
            )
        )
    else:
        st.markdown(
            tr(
                "**No round yet.** Every gateway learns by itself. Rounds begin when learning is enabled in the site's "
                "settings and enough gateways are online."
            )
        )
    show_list([link(tr("Which gateways there are"), "fleet")])


def _share(value: Any) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else words.NOT_KNOWN
