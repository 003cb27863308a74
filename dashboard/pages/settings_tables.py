"""This file knows the tables of assets, limits and bearings on the screen, and what each limit rests on."""

import streamlit as st

from dashboard import words
from dashboard.languages import tr
from dashboard.pages.addresses import machine_address
from dashboard.pages.table_round import Kept, show_round
from dashboard.queries.assets import (
    OperatingState,
    PlateSending,
    read_assets,
    read_assets_as_of,
    read_operating_states,
    read_plate_sendings,
    read_point_names,
    read_rows,
)
from dashboard.runtime import Dashboard
from dashboard.zone_words import zone_basis
from schemas.asset_table import UNITS, AssetRow, BearingRow, LimitRow, unknown_bearing
from schemas.nameplate import Nameplate
from vibration.bearing import FaultOrders, self_test
from vibration.bearing_library import load_library


def show_assets(board: Dashboard) -> None:
    """Show the machines of the plant by line, and their table."""
    with board.reader.read() as connection:
        rows, sources = read_assets(connection)
        own = read_rows(connection, "bearings", BearingRow)
    if not rows:
        st.markdown(tr("No machine is known yet. Upload a table, or start a gateway: machines appear by themselves."))
    else:
        _show_tree(rows, sources)
    st.caption(
        tr(
            "An uploaded table goes to the gateways by itself, signed, also to those that are away until they come "
            "back. They judge zones, bearings and speeds by it from the next capture on; what a cell leaves open stays "
            "as in the gateway's own settings. Limits that were learnt stay; only another speed, number of teeth or "
            "line frequency has the healthy pictures of shaft, gear and motor lines drawn anew, and the point says so."
        )
    )
    _show_sendings(board)
    if rows:
        st.download_button(
            tr("Nameplates for gateway.toml"), nameplates_toml(rows, own), "machines.toml", "text/plain",
            key="nameplates_toml", on_click="ignore", icon=":material/download:",
        )  # fmt: skip
    kept = Kept(
        "assets", "set_assets", AssetRow, key=lambda row: row.machine, named=lambda row: row.machine,
        keeps_unlisted=True, check=lambda row: unknown_bearing(row, own), as_of=read_assets_as_of,
    )  # fmt: skip
    show_round(board, kept, rows)


def sending_words(one: PlateSending) -> str:
    """Say what a gateway does with the nameplates that are for it."""
    if not one.takes:
        return "△ " + tr("not taken: its software is older; take the file below over into gateway.toml")
    if (one.in_force or 0) >= one.revision:
        return "✓ " + tr("in force")
    if one.problem:
        return "✕ " + tr("refused: {problem}", problem=one.problem)
    return tr("on its way") if one.online else tr("waits until the gateway is back")


def _show_sendings(board: Dashboard) -> None:
    with board.reader.read() as connection:
        sendings = read_plate_sendings(connection)
    if not sendings:
        return
    st.dataframe(
        [
            {
                tr("Gateway"): one.gateway, tr("Machines"): one.machines, tr("Table"): one.asset_version,
                tr("Nameplates"): sending_words(one), tr("Sent"): words.age((board.now_us() - one.at_us) / 1e6),
            }
            for one in sendings
        ],
        hide_index=True, width="stretch",
    )  # fmt: skip


def nameplates_toml(rows: list[AssetRow], own: list[BearingRow]) -> str:
    """The machines as `[[machines]]` of a gateway's settings."""
    return "\n".join(_toml("machines", row.nameplate(own)) for row in rows)


def show_limits(board: Dashboard) -> None:
    """Show the plant's own limits, and on what all others rest."""
    with board.reader.read() as connection:
        limits = read_rows(connection, "limits", LimitRow)
        assets, _ = read_assets(connection)
        points = read_point_names(connection)
    st.subheader(tr("The plant's own limits"))
    st.caption(
        tr(
            "The site judges them on every capture beside what gateways judge, by the same counting (5 of 8), and "
            "joins them to the machine's case: one judge, so that a limit holds for all gateways from the same moment. "
            "Captures of a gateway that was away are judged when they arrive. Each says where its number comes from."
        )
    )
    if limits:
        st.dataframe([_limit_line(row) for row in limits], hide_index=True, width="stretch")
    else:
        st.markdown(tr("None yet. Download the empty table below, fill it in, upload it."))
    with st.expander(tr("What a row may say")):
        st.dataframe(
            [{tr("Quantity"): name, tr("Unit"): unit} for name, unit in UNITS.items()], hide_index=True, width="content"
        )
        st.markdown(
            tr(
                "`applies_to` is a machine or one of its points. `rpm_from` and `rpm_to` bind a limit to a speed (an "
                "operating state); both may be empty. `source` is never empty."
            )
        )
    known = {*points, *(row.machine for row in assets)}

    def check(row: LimitRow) -> str:
        return "" if row.applies_to in known else tr("no machine or point is called {name}", name=row.applies_to)

    kept = Kept(
        "limits", "set_limits", LimitRow, key=lambda row: (row.applies_to, row.quantity, row.rpm_from, row.rpm_to),
        named=lambda row: f"{row.applies_to} {row.quantity}", keeps_unlisted=False, check=check,
    )  # fmt: skip
    show_round(board, kept, limits)
    _show_provenance(assets)
    _show_states(board, points)


def show_bearings(board: Dashboard) -> None:
    """Show the bearing library with its self-tests, and the plant's own bearings."""
    with board.reader.read() as connection:
        own = read_rows(connection, "bearings", BearingRow)
    st.caption(
        tr(
            "Fault orders per turn of the shaft follow from the geometry. Two sums must hold for each: BPFO + BPFI is "
            "the number of elements, and BPFO is that number times FTF. Tables in circulation are often wrong; these "
            "are not copied from one."
        )
    )
    rows = [
        bearing_line(found.name, found.geometry.elements, found.orders, found.source, found.provenance)
        for found in load_library()
    ]
    rows += [bearing_line(row.name, row.elements, row.orders(), row.source, tr("own")) for row in own]
    st.dataframe(rows, hide_index=True, width="stretch")
    st.caption(
        tr(
            "Of a bearing of which only the number of elements is known, gateways use an estimate (BPFO 0.4 n, BPFI "
            "0.6 n) and mark it as one."
        )
    )
    st.subheader(tr("The plant's own bearings"))
    kept = Kept(
        "bearings", "set_bearings", BearingRow, key=lambda row: row.name.casefold(), named=lambda row: row.name,
        keeps_unlisted=False,
    )  # fmt: skip
    show_round(board, kept, own)


def bearing_line(name: str, elements: int, orders: FaultOrders, source: str, provenance: str) -> dict[str, str]:
    """One bearing with the two sums that must hold."""
    reasons = self_test(orders, elements)
    return {
        tr("Bearing"): name, "n": str(elements), "BPFO": f"{orders.bpfo:.3f}", "BPFI": f"{orders.bpfi:.3f}",
        "BSF": f"{orders.bsf:.3f}", "FTF": f"{orders.ftf:.3f}",
        "BPFO + BPFI": f"{orders.bpfo + orders.bpfi:.3f}", "n × FTF": f"{elements * orders.ftf:.3f}",
        tr("Self-test"): "; ".join(reasons) or tr("held"),
        tr("Source"): source, tr("Provenance"): tr("estimate") if orders.estimated else provenance,
    }  # fmt: skip


def _show_tree(rows: list[AssetRow], sources: dict[str, int | None]) -> None:
    st.dataframe(
        [_asset_line(row, sources.get(row.machine)) for row in rows], hide_index=True, width="stretch",
        column_config={tr("Page"): st.column_config.LinkColumn(tr("Page"), display_text=tr("open"), width="small")},
    )  # fmt: skip


def _asset_line(row: AssetRow, version: int | None) -> dict[str, str]:
    speed = words.number(row.rpm, "rpm", 4)
    if row.rpm_min is not None and row.rpm_max is not None:
        speed = f"{row.rpm_min:g} … {row.rpm_max:g} rpm"
    return {
        tr("Line"): row.area or words.NOT_KNOWN, tr("Machine"): row.machine, tr("Name"): row.title,
        tr("Criticality"): f"{row.criticality} / 5",
        tr("Power"): words.number(row.power_kw, "kW"), tr("Foundation"): row.foundation or words.NOT_KNOWN,
        tr("Kind"): row.kind, tr("Speed"): speed, tr("Bearing"): row.bearing or words.NOT_KNOWN,
        tr("Zones by"): zone_basis(row.nameplate()),
        tr("Known from"): tr("settings, gateways") if version is None else tr("table {number}", number=version),
        tr("Page"): machine_address(row.machine),
    }  # fmt: skip


def _limit_line(row: LimitRow) -> dict[str, str]:
    speed = tr("every speed")
    if row.rpm_from is not None or row.rpm_to is not None:
        low, high = words.number(row.rpm_from, "", 5), words.number(row.rpm_to, "", 5)
        speed = f"{low} … {high} rpm"
    unit = "" if row.unit == "1" else row.unit
    return {
        tr("Applies to"): row.applies_to, tr("Quantity"): row.quantity, tr("Alert"): words.number(row.alert, unit),
        tr("Danger"): words.number(row.danger, unit), tr("At speed"): speed, tr("Source"): row.source,
    }  # fmt: skip


def _show_provenance(assets: list[AssetRow]) -> None:
    st.subheader(tr("Limits by standard, and on what they rest"))
    if not assets:
        st.markdown(tr("No machine is known yet."))
        return
    st.dataframe(
        [
            {tr("Machine"): row.machine, tr("Velocity zones"): zone_basis(row.nameplate(), with_numbers=True)}
            for row in assets
        ],
        hide_index=True, width="stretch",
    )  # fmt: skip


def _show_states(board: Dashboard, points: list[str]) -> None:
    st.subheader(tr("Learnt limits and operating states"))
    st.caption(
        tr(
            "A gateway keeps a limit of the score for each operating state (speed and load) it was commissioned in, "
            "made so that one healthy capture in a hundred exceeds it."
        )
    )
    if not points:
        st.markdown(tr("No measurement point is known yet."))
        return
    name = st.selectbox(tr("Point"), points, key="states_point", width=320)
    with board.reader.read() as connection:
        states = read_operating_states(connection, name)
    if not states:
        st.markdown(tr("This point has no limit of its own yet: it is still learning."))
        return
    st.dataframe([_state_line(found, board.now_us()) for found in states], hide_index=True, width="stretch")


def _state_line(found: OperatingState, now_us: int) -> dict[str, str]:
    speed = words.NOT_KNOWN if found.rpm is None else f"{found.rpm[0]:.0f} … {found.rpm[1]:.0f} rpm"
    return {
        tr("Limit of the score"): words.number(found.limit), tr("Speed"): speed,
        tr("Captures"): str(found.captures), tr("Over the limit"): f"{found.over} ({found.over / found.captures:.0%})",
        tr("Last seen"): words.age((now_us - found.last_us) / 1e6),
    }  # fmt: skip


def _toml(name: str, plate: Nameplate) -> str:
    lines = [f"[[{name}]]"]
    tables = []
    for key, value in plate.model_dump(mode="json", exclude_none=True).items():
        if isinstance(value, dict):
            tables += [f"[{name}.{key}]", *(f"{k} = {_toml_value(v)}" for k, v in value.items())]
        else:
            lines.append(f"{key} = {_toml_value(value)}")
    return "\n".join([*lines, *tables, ""])


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(one) for one in value)}]"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) + '"'
