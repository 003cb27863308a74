"""The library gives bearings by name, with the source of every number."""

import pytest

from vibration.bearing import self_test
from vibration.bearing_library import load_library, lookup_bearing, parse_library
from vibration.errors import GeometryError, UnknownBearingError

PUBLISHED = [  # name, BPFO, BPFI, BSF, FTF
    ("SKF 6205-2RS", 3.585, 5.415, 2.357, 0.398),
    ("SKF 6203-2RS", 3.053, 4.947, 1.994, 0.382),
    ("Paderborn 6203", 3.054, 4.946, 1.997, 0.382),
    ("Rexnord ZA-2115", 7.092, 8.908, 4.198, 0.443),
    ("LDK UER204", 3.083, 4.917, 2.067, 0.385),
    ("NSK 6804RS", 5.611, 7.389, 3.589, 0.432),
    ("NICE", 3.245, 4.755, 2.555, 0.406),
]
ENTRY = """
[[bearing]]
name = "X 1"
elements = 9
ball_diameter_mm = 7.94
pitch_diameter_mm = 39.04
source = "maker's sheet"
provenance = "maker"
"""


@pytest.mark.parametrize(("name", "bpfo", "bpfi", "bsf", "ftf"), PUBLISHED)
def test_every_bearing_has_the_published_orders(name, bpfo, bpfi, bsf, ftf):
    orders = lookup_bearing(name).orders
    assert (orders.bpfo, orders.bpfi) == (pytest.approx(bpfo, abs=6e-4), pytest.approx(bpfi, abs=6e-4))
    assert (orders.bsf, orders.ftf) == (pytest.approx(bsf, abs=1e-3), pytest.approx(ftf, abs=6e-4))


def test_every_bearing_says_its_source_and_passes_the_self_tests():
    library = load_library()
    assert len(library) == len(PUBLISHED)
    for bearing in library:
        assert bearing.source
        assert bearing.provenance
        assert self_test(bearing.orders, bearing.geometry.elements) == []


@pytest.mark.parametrize("name", ["6205", "skf6205 2rs", "SKF-6205-2RS", "6205-2rs jem"])
def test_spaces_dashes_and_capitals_do_not_matter(name):
    assert lookup_bearing(name).name == "SKF 6205-2RS"


def test_unknown_bearing_is_refused_with_near_names():
    with pytest.raises(UnknownBearingError, match=r"near: .*SKF 6205-2RS"):
        lookup_bearing("SKF 6206-2RS")


def test_bearing_without_near_names_is_refused_with_what_is_known():
    with pytest.raises(UnknownBearingError, match=r"known: SKF 6205-2RS"):
        lookup_bearing("HJ?")


def test_name_that_no_single_geometry_answers_says_why():
    with pytest.raises(UnknownBearingError, match="differ by maker"):
        lookup_bearing("NU 205")


def test_own_library_is_read_like_the_shipped_one():
    assert parse_library(ENTRY).lookup("x1").orders.bpfo == pytest.approx(3.585, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[bearing", "not TOML"),
        (ENTRY.replace("elements = 9\n", ""), "lacks elements"),
        (ENTRY + "bal_diameter_mm = 3\n", "unknown bal_diameter_mm"),
        (ENTRY.replace("39.04", "7.0"), "X 1.*which diameter"),
        (ENTRY.replace("9\n", '"many"\n'), "X 1.*many"),
        (ENTRY + ENTRY, "both X 1 and X 1"),
    ],
)
def test_faulty_library_is_refused_with_the_entry_and_the_reason(text, said):
    with pytest.raises(GeometryError, match=said):
        parse_library(text)
