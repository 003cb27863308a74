"""Tables to a spreadsheet and back: nothing is lost on the way, and each wrong row says its line and its reason."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.asset_table import AssetRow, BearingRow, LimitRow, unknown_bearing
from schemas.csv_table import MAX_BYTES, MAX_PROBLEMS, MAX_ROWS, Table, plain_row, read_table, write_table
from schemas.nameplate import BearingPlate, Nameplate

PUMP = AssetRow(
    machine="pump-07", title="Cooling water pump 7", area="Line 1", criticality=5, power_kw=55.5, foundation="rigid",
    kind="pump", rpm=1480, bearing="6205",
)  # fmt: skip


def read(text: str | bytes) -> Table[AssetRow]:
    content = text if isinstance(text, bytes) else text.encode()
    return read_table(content, AssetRow, key=lambda row: row.machine)


def problems(text: str | bytes) -> list[str]:
    found = read(text)
    assert found.rows == ()
    return [str(problem) for problem in found.problems]


def test_what_is_written_is_read_again() -> None:
    assert read(write_table([PUMP], AssetRow)).rows == (PUMP,)


_LABEL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=40)


@given(title=_LABEL, area=_LABEL, power=st.none() | st.floats(0.001, 1e5), teeth=st.none() | st.integers(5, 500))
def test_every_row_comes_back_as_it_went(title: str, area: str, power: float | None, teeth: int | None) -> None:
    row = AssetRow(machine="m-1", title=title.strip(), area=area.strip(), power_kw=power, gear_teeth=teeth)
    assert read(write_table([row], AssetRow)).rows == (row,)


@pytest.mark.parametrize("title", ["=1+1", "+A1", "-2", "@cmd", "'quoted", "'=x"])
def test_no_cell_is_a_formula_to_a_spreadsheet(title: str) -> None:
    row = PUMP.model_copy(update={"title": title})
    content = write_table([row], AssetRow)
    cell = next(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))["title"]
    assert cell.startswith("'")
    assert read(content).rows == (row,)


def test_german_sheet_with_semicolons_and_decimal_commas_is_understood() -> None:
    assert read("machine;power_kw\npump-07;5,5\n").rows[0].power_kw == 5.5


def test_empty_cell_is_unknown_and_not_zero() -> None:
    row = read("machine,power_kw,rpm\npump-07,,\n").rows[0]
    assert (row.power_kw, row.rpm) == (None, None)


def test_every_wrong_row_is_named_with_line_column_and_what_was_found() -> None:
    said = problems("machine,power_kw,criticality\npump-07,55,3\n\nPump 8,-3,9\nfan-03,many,2\n")
    assert [one.partition(":")[0] for one in said] == [
        "line 4, machine", "line 4, criticality", "line 4, power_kw", "line 5, power_kw",
    ]  # fmt: skip
    assert "'-3' found" in said[2]


def test_one_wrong_row_and_no_row_is_used() -> None:
    assert read("machine,criticality\npump-07,3\nfan-03,9\n").rows == ()


def test_same_machine_twice_names_the_first_line() -> None:
    assert problems("machine\npump-07\nfan-03\npump-07\n") == ["line 4: stands on line 2 already"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "line 1: no heading found"),
        ("title\nx\n", "line 1, machine: the column is missing"),
        ("machine,machine\na,b\n", "the column is there twice"),
        ("machine,colour\na,b\n", "no such column"),
        ("machine,title\na\n", "line 2: 1 values found, 2 expected"),
        (b"machine,title\na,\xe4\n", "line 2: is not UTF-8"),
        ("machine\na\0b\n", "zero byte"),
        ('machine,title\na,"b\n', "cannot be read as CSV"),
        ("machine," + "x" * MAX_BYTES, f"{MAX_BYTES} allowed"),
        ("machine\n" + "\n".join(f"m-{n}" for n in range(MAX_ROWS + 5)), f"more than {MAX_ROWS} rows"),
    ],
)
def test_file_that_is_no_table_is_refused_in_words(content: str | bytes, why: str) -> None:
    assert why in " ".join(problems(content))


def test_hopeless_file_is_not_read_to_its_end() -> None:
    assert len(problems("machine\n" + "\n".join("BAD NAME" for _ in range(4000)))) <= MAX_PROBLEMS + 1


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("m,1500,1000,,,,", "is not below rpm_max"),
        ("m,1500,,,,,", "belong together"),
        ("m,,,9,,,", "belong together"),
        ("m,,,9,40,39,", "do not fit"),
        ("m,,,9,7.94,39.04,nan", "finite"),
    ],
)
def test_nameplate_that_cannot_be_is_refused(row: str, why: str) -> None:
    heading = "machine,rpm_min,rpm_max,bearing_elements,ball_diameter_mm,pitch_diameter_mm,rpm"
    assert why in " ".join(problems(f"{heading}\n{row}\n"))


def test_bearing_that_no_library_knows_is_named_with_those_near_it() -> None:
    row = PUMP.model_copy(update={"bearing": "62055"})
    assert "SKF 6205-2RS" in unknown_bearing(row, [])
    own = BearingRow(name="62055", elements=9, ball_diameter_mm=8.0, pitch_diameter_mm=39.0, source="maker")
    assert unknown_bearing(row, [own]) == ""
    assert row.nameplate([own]).bearing == BearingPlate(
        name="62055", elements=9, ball_diameter_mm=8.0, pitch_diameter_mm=39.0
    )


def test_row_of_a_nameplate_gives_the_nameplate_back() -> None:
    plate = Nameplate(
        machine="fan-1", title="Fan", power_kw=7.5, foundation="flexible", rpm_range=(900.0, 1500.0), gear_teeth=31,
        bearing=BearingPlate(elements=9, ball_diameter_mm=7.94, pitch_diameter_mm=39.04), criticality=4,
    )  # fmt: skip
    row = AssetRow.of("fan-1", "Fan", "", 4, plate)
    assert row.nameplate() == plate
    assert AssetRow.model_validate(plain_row(row)) == row


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("m,temperature_c,°F,80,90,maker", "is in °C"),
        ("m,temperature_c,°C,,,maker", "neither alert nor danger"),
        ("m,temperature_c,°C,90,80,maker", "is not below danger"),
        ("m,temperature_c,°C,80,90,", "source"),
        ("m,speed,rpm,80,90,maker", "quantity"),
    ],
)
def test_limit_without_unit_order_or_source_is_refused(row: str, why: str) -> None:
    content = f"applies_to,quantity,unit,alert,danger,source\n{row}\n".encode()
    found = read_table(content, LimitRow, key=lambda one: (one.applies_to, one.quantity))
    assert why in " ".join(str(problem) for problem in found.problems)


def test_own_bearing_must_be_new_and_turn() -> None:
    heading = "name,elements,ball_diameter_mm,pitch_diameter_mm,source\n"
    for row, why in (("6205,9,7.94,39.04,x", "ships already"), ("own,30,20,39.04,x", "do not fit")):
        found = read_table((heading + row).encode(), BearingRow, key=lambda one: one.name)
        assert why in str(found.problems[0])
