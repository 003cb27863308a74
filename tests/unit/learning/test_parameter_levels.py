"""Which part of a model travels how far, as a release says it."""

from typing import Any

import numpy as np
import pytest

from aggregator.merge.levels import levels_of, part_for_enterprise, part_for_site, with_own_parts
from aggregator.merge.mean import weighted_mean
from schemas.errors import ReleaseRejected
from schemas.parameter_levels import ParameterLevels
from schemas.release import MANIFEST, Release, make_release
from schemas.signing import Signer
from tests.support.learning import builtin

TABLE = [
    {"name": "encoder_weight", "shape": [2, 3], "offset": 0},
    {"name": "encoder_bias", "shape": [3], "offset": 6},
    {"name": "decoder_weight", "shape": [3, 1], "offset": 9},
    {"name": "head", "shape": [2], "offset": 12},
]
LEVELS: dict[str, Any] = {"decoder": "site", "head": "machine"}
THREE = ParameterLevels.of(TABLE, LEVELS, 14)
SIGNER = Signer.generate()


def released(**levels: str) -> Release:
    base = builtin(SIGNER)
    fields = {**base.manifest.model_dump(exclude={"files"}), "levels": levels}
    return make_release(fields, {n: b for n, b in base.files.items() if not n.startswith("manifest")}, SIGNER)


def test_each_part_has_the_level_its_release_says_and_the_rest_is_the_fleets() -> None:
    np.testing.assert_array_equal(THREE.fleet, [True] * 9 + [False] * 5)
    np.testing.assert_array_equal(THREE.site, [False] * 9 + [True] * 3 + [False] * 2)
    np.testing.assert_array_equal(THREE.machine, [False] * 12 + [True] * 2)
    np.testing.assert_array_equal(THREE.mask(("site", "machine")), ~THREE.fleet)


def test_the_longer_of_two_words_that_fit_counts() -> None:
    levels = ParameterLevels.of(TABLE, {"encoder": "site", "encoder_bias": "machine"}, 14)
    assert (levels.site.sum(), levels.machine.sum()) == (6, 3)


def test_a_word_is_no_part_of_a_longer_word() -> None:
    table = [{"name": "layer_1_weight", "shape": [2], "offset": 0}, {"name": "layer_10", "shape": [3], "offset": 2}]
    assert ParameterLevels.of(table, {"layer_1": "machine"}, 5).machine.tolist() == [True, True, False, False, False]


def test_a_release_without_levels_is_merged_whole_and_read_by_gateways_that_know_none() -> None:
    release = released()
    assert b"levels" not in release.files[MANIFEST]
    delta = np.arange(3704, dtype=np.float32)
    np.testing.assert_array_equal(part_for_site(delta, levels_of(release)), delta)
    np.testing.assert_array_equal(part_for_enterprise(delta, levels_of(release)), delta)


def test_what_goes_up_is_0_where_nothing_is_merged_and_keeps_its_type() -> None:
    for dtype in (np.float32, np.float64):
        delta = np.arange(1, 15, dtype=dtype)
        at_site, at_enterprise = part_for_site(delta, THREE), part_for_enterprise(delta, THREE)
        assert at_site.dtype == at_enterprise.dtype == dtype
        assert at_site.tolist() == [*range(1, 13), 0, 0]
        assert at_enterprise.tolist() == [*range(1, 10), 0, 0, 0, 0, 0]


def test_a_hidden_nan_in_a_part_that_is_not_merged_does_no_harm() -> None:
    delta = np.ones(14, np.float32)
    delta[13] = np.nan
    assert np.isfinite(part_for_site(delta, THREE)).all()


def test_what_comes_down_replaces_the_fleets_part_alone() -> None:
    fleet, own = np.full(14, 7, np.float32), np.arange(14, dtype=np.float32)
    assert with_own_parts(fleet, own, THREE).tolist() == [7.0] * 9 + [9.0, 10.0, 11.0, 12.0, 13.0]


def test_merging_through_two_sites_equals_merging_all_gateways_at_once_where_the_fleet_shares() -> None:
    draw = np.random.default_rng(3)
    updates = [(draw.standard_normal(14), weight) for weight in (10.0, 20.0, 5.0, 40.0, 1.0)]
    flat = weighted_mean((part_for_enterprise(delta, THREE), weight) for delta, weight in updates)
    sites = [updates[:2], updates[2:]]
    merged = [(weighted_mean((part_for_site(d, THREE), w) for d, w in site), sum(w for _, w in site)) for site in sites]
    through = weighted_mean((part_for_enterprise(delta, THREE), weight) for delta, weight in merged)
    np.testing.assert_allclose(through, flat, atol=1e-15)
    site_part = weighted_mean(iter(sites[0]))[THREE.site]
    np.testing.assert_allclose(merged[0][0][THREE.site], site_part, atol=1e-15)


BAD: dict[str, tuple[object, dict[str, Any], str]] = {
    "a part that is not there": (TABLE, {"tail": "site"}, "tail"),
    "no table": (None, LEVELS, "cannot be read"),
    "a table with a gap": ([TABLE[0], TABLE[2]], LEVELS, "does not follow"),
    "a table too short": (TABLE[:3], {"decoder": "site"}, "lays out 12 parameters, 14 needed"),
    "a table too long": ([*TABLE, {"name": "more", "shape": [1], "offset": 14}], LEVELS, "does not follow"),
    "negative sizes": ([{"name": "a", "shape": [-2, -7], "offset": 0}], {"a": "site"}, "no size"),
    "truth for a size": ([{"name": "a", "shape": [True], "offset": 0}], {"a": "site"}, "no size"),
}


@pytest.mark.parametrize("what", BAD)
def test_levels_that_do_not_fit_the_parameters_are_refused_with_the_reason(what: str) -> None:
    table, levels, text = BAD[what]
    with pytest.raises(ReleaseRejected, match=text) as caught:
        ParameterLevels.of(table, levels, 14)
    assert caught.value.reason == "bad_levels"


def test_an_unknown_level_is_no_manifest() -> None:
    with pytest.raises(ValueError, match="'fleet', 'site' or 'machine'"):
        released(layer_4="planet")
