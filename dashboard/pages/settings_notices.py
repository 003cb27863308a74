"""This file knows who is told of what, on the screen: channels with their test, routes, what became of each notice."""

from collections.abc import Sequence

import streamlit as st

from dashboard import words
from dashboard.languages import tr
from dashboard.pages.asking import ask, explain_may_not, may, show_asked
from dashboard.pages.table_round import Kept, show_round
from dashboard.queries.assets import Channel, Delivery, read_channels, read_deliveries, read_rows
from dashboard.runtime import Dashboard
from schemas.notice_routes import Route


def show_notices(board: Dashboard) -> None:
    """Show channels, routes and deliveries."""
    with board.reader.read() as connection:
        channels = read_channels(connection)
        routes = read_rows(connection, "routes", Route)
        deliveries = read_deliveries(connection)
    st.subheader(tr("Channels"))
    _show_channels(board, channels)
    show_asked(board, "channels")
    st.subheader(tr("Routes: who is told of what, and when"))
    _show_routes(routes)
    names = {channel.name for channel in channels}

    def check(row: Route) -> str:
        return "" if row.channel in names else tr("no channel is called {name}", name=row.channel)

    kept = Kept(
        "routes", "set_routes", Route, key=lambda row: row.name.casefold(), named=lambda row: row.name,
        keeps_unlisted=False, check=check,
    )  # fmt: skip
    _add_form(board, routes, channels)
    show_round(board, kept, routes)
    st.subheader(tr("What was told lately"))
    _show_deliveries(board, deliveries)


def _show_channels(board: Dashboard, channels: Sequence[Channel]) -> None:
    if not channels:
        st.markdown(
            tr(
                "No channel yet. Name one in the site's settings, `[[notifications.channels]]` with `name` and "
                "`url_file`, and start the site service again. Its address stays in that file."
            )
        )
        return
    for channel in channels:
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            kind = tr("program (webhook)") if channel.kind == "webhook" else tr("people")
            st.markdown(f"**{words.plain(channel.name)}** · {kind}", width="content")
            st.markdown(channel_words(channel, board.now_us()), width="content")
            if may(board, "test_notification") and st.button(tr("Send a test"), key=f"test:{channel.name}"):
                what = tr("Test of {channel}", channel=words.plain(channel.name))
                ask(board, "channels", what, "test_notification", values={"channel": channel.name})
    explain_may_not(board, "test_notification")


def channel_words(channel: Channel, now_us: int) -> str:
    """Say whether a channel works."""
    parts = []
    if channel.problem:
        age = words.age((now_us - (channel.problem_at_us or now_us)) / 1e6)
        parts.append(tr("✕ **does not work**, {age}: {problem}", age=age, problem=words.plain(channel.problem)))
    if channel.delivered_at_us is None:
        parts.append(tr("nothing delivered yet"))
    else:
        parts.append(tr("last delivered {age}", age=words.age((now_us - channel.delivered_at_us) / 1e6)))
    if channel.dropped:
        parts.append(tr("{count} did not fit into the queue", count=channel.dropped))
    return " · ".join(parts)


def _show_routes(routes: Sequence[Route]) -> None:
    if not routes:
        st.markdown(tr("**Nobody is told of anything.** Add a route."))
        return
    st.dataframe([route_line(route) for route in routes], hide_index=True, width="stretch")


def route_line(route: Route) -> dict[str, str]:
    """One route in words."""
    wanted = [
        said for said, want in (
            (tr("Danger"), route.danger), (tr("Alert"), route.alert), (tr("Notice"), route.notice)
        ) if want
    ]  # fmt: skip
    quiet = tr("none")
    if route.quiet_from:
        danger = tr("danger waits too") if route.quiet_holds_danger else tr("danger goes through")
        quiet = f"{route.quiet_from}-{route.quiet_to} {route.quiet_days} {route.zone}, {danger}"
    return {
        tr("Who"): route.name, tr("Channel"): route.channel, tr("Of"): ", ".join(wanted),
        tr("When"): tr("at once") if not route.after_min
        else tr("after {minutes} min without acknowledgement", minutes=route.after_min),
        tr("Quiet hours"): quiet,
    }  # fmt: skip


def _add_form(board: Dashboard, routes: Sequence[Route], channels: Sequence[Channel]) -> None:
    if not may(board, "set_routes") or not channels:
        return
    with st.expander(tr("Add a route")), st.form("add_route", border=False, clear_on_submit=True):
        name = st.text_input(tr("Who"), max_chars=64, placeholder=tr("shift leader, night"))
        channel = st.selectbox(tr("Channel"), [found.name for found in channels])
        wanted = st.multiselect(
            tr("Of"), ["danger", "alert", "notice"], default=["danger", "alert"],
            format_func=lambda word: {"danger": tr("Danger"), "alert": tr("Alert"), "notice": tr("Notice")}[word],
        )  # fmt: skip
        after_min = int(st.number_input(tr("Only after so many minutes without acknowledgement"), 0, 10_080, 0))
        with st.container(horizontal=True):
            quiet_from = st.text_input(tr("Quiet from"), placeholder="22:00", max_chars=5, width=120)
            quiet_to = st.text_input(tr("to"), placeholder="06:00", max_chars=5, width=120)
            zone = st.text_input(tr("Time zone"), st.context.timezone or "UTC", max_chars=64, width=220)
        pressed = st.form_submit_button(tr("Add it"))
    if not pressed:
        return
    try:
        route = Route(
            name=name.strip(), channel=channel, danger="danger" in wanted, alert="alert" in wanted,
            notice="notice" in wanted, after_min=after_min, quiet_from=quiet_from.strip(), quiet_to=quiet_to.strip(),
            zone=zone.strip(),
        )  # fmt: skip
    except ValueError as error:
        st.markdown(tr("This is no route: {problem}", problem=words.plain(_first_problem(error))))
        return
    if route.name.casefold() in {one.name.casefold() for one in routes}:
        st.markdown(tr("There is a route for {name} already.", name=words.plain(route.name)))
        return
    rows = [one.model_dump(mode="json") for one in (*routes, route)]
    if ask(board, "routes", tr("New route"), "set_routes", note=route.name, values={"rows": rows}):
        st.rerun()


def _first_problem(error: ValueError) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    return str(error)


def _show_deliveries(board: Dashboard, deliveries: Sequence[Delivery]) -> None:
    if not deliveries:
        st.markdown(tr("Nothing has been told yet."))
        return
    now_us = board.now_us()
    states = {
        "waiting": tr("waits"), "sending": tr("is being sent"), "sent": tr("delivered"),
        "merged": tr("told in a summary"), "dropped": tr("not needed any more"), "dead": tr("✕ dead: given up"),
    }  # fmt: skip
    st.dataframe(
        [
            {
                tr("When"): words.age((now_us - one.created_at_us) / 1e6), tr("Channel"): one.channel,
                tr("What"): one.kind.replace("_", " "), tr("Machine"): one.machine or words.NOT_KNOWN,
                tr("State"): states.get(one.state, one.state), tr("Tries"): str(one.attempts), tr("Why"): one.text,
                tr("Reference"): one.key,
            }
            for one in deliveries
        ],
        hide_index=True, width="stretch",
    )  # fmt: skip
