"""Lives of many gateways become one knowledge; nobody weighs more than one life, and nonsense is refused by name."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregator.lives import learn_lives
from schemas.lives import LAYOUT, SHAPE_POWERS, LifeSums, LivesRejected, total

Arrays = dict[str, NDArray[np.float64]]


class ToldLife:
    """A life that says what it is told to, and remembers whose sums it was examined with."""

    def __init__(self, log_life: float, end_db: float, *, level: int = 10) -> None:
        self.log_life, self.end_db, self.level = log_life, end_db, level
        self.examined_with: LifeSums | None = None

    def learn(self) -> Arrays:
        shapes = np.zeros(len(SHAPE_POWERS))
        shapes[2] = 1.0
        return LifeSums(
            1.0, np.array([self.log_life, self.log_life**2]), np.array([self.end_db, self.end_db**2]), shapes,
            LifeSums.none().truth_levels,
        ).arrays()  # fmt: skip

    def examine(self, others: Arrays) -> Arrays:
        self.examined_with = LifeSums.from_arrays(others)
        counts = LifeSums.none().arrays()
        counts["truth_levels"][0, self.level] = 1.0
        return counts


class SpoiltLife(ToldLife):
    """A life whose answer has been tampered with."""

    def __init__(self, spoil: Callable[[Arrays], None]) -> None:
        super().__init__(9.0, 20.0)
        self._spoil = spoil

    def learn(self) -> Arrays:
        arrays = super().learn()
        self._spoil(arrays)
        return arrays


def test_every_life_is_examined_with_what_the_others_taught_and_not_with_its_own() -> None:
    lives = {"a": ToldLife(8.0, 10.0), "b": ToldLife(9.0, 20.0), "c": ToldLife(10.0, 30.0)}
    learn_lives(lives)
    seen = lives["b"].examined_with
    assert seen is not None
    assert seen.lives == 2.0
    assert seen.log_life == pytest.approx([18.0, 164.0])
    assert seen.end_level_db == pytest.approx([40.0, 1000.0])


def test_knowledge_is_the_sum_of_what_lives_teach_and_of_their_examinations() -> None:
    sums = learn_lives({"a": ToldLife(8.0, 10.0, level=0), "b": ToldLife(9.0, 20.0, level=19)})
    assert sums.lives == 2.0
    assert sums.log_life == pytest.approx([17.0, 145.0])
    assert sums.shapes.sum() == pytest.approx(2.0)
    assert sums.truth_levels[0, [0, 19]].tolist() == [1.0, 1.0]


def test_knowledge_does_not_depend_on_the_order_of_lives_nor_on_how_sites_group_them() -> None:
    lives = [ToldLife(7.0 + 0.3 * number, 15.0 + number) for number in range(6)]
    sums = [LifeSums.from_arrays(life.learn()) for life in lives]
    at_once, by_sites = total(sums), total([total(sums[4:]), total(sums[:4])])
    for name in LAYOUT:
        assert at_once.arrays()[name] == pytest.approx(by_sites.arrays()[name])


def test_single_life_is_learnt_but_nothing_can_examine_it() -> None:
    life = ToldLife(9.0, 20.0)
    sums = learn_lives({"only": life})
    assert sums.lives == 1.0
    assert life.examined_with is None


def test_no_life_teaches_nothing() -> None:
    assert learn_lives({}).lives == 0.0


def test_arrays_come_back_as_they_went() -> None:
    sums = learn_lives({"a": ToldLife(8.0, 10.0), "b": ToldLife(9.0, 20.0)})
    again = LifeSums.from_arrays(sums.arrays())
    for name in LAYOUT:
        assert np.array_equal(again.arrays()[name], sums.arrays()[name])


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda a: a.update(log_life=np.array([np.nan, 1.0])), "log_life is not finite"),
        (lambda a: a.update(log_life=np.array([60.0, 3600.0])), "mean of log_life is 60"),
        (lambda a: a.update(end_level_db=np.array([500.0, 250_000.0])), "mean of end_level_db is 500"),
        (lambda a: a.update(end_level_db=np.array([20.0, 1.0])), "squares of end_level_db"),
        (lambda a: a.update(lives=np.array(1000.0)), "shapes sum to 1, 1000 expected"),
        (lambda a: a.update(shapes=5.0 * a["shapes"]), "shapes sum to 5"),
        (lambda a: a.update(shapes=np.zeros(3)), "shapes is float64"),
        (lambda a: a.update(truth_levels=a["truth_levels"] + 1.0), "20 tested"),
        (lambda a: a.pop("shapes"), "expected"),
    ],
)
def test_life_that_says_what_cannot_be_is_refused_with_its_name(spoil: Callable[[Arrays], None], found: str) -> None:
    with pytest.raises(LivesRejected, match=f"gateway-7: .*{found}"):
        learn_lives({"a": ToldLife(9.0, 20.0), "gateway-7": SpoiltLife(spoil)})


def test_one_that_claims_many_lives_at_once_is_refused() -> None:
    many = total([LifeSums.from_arrays(ToldLife(9.0, 20.0).learn())] * 50).arrays()
    with pytest.raises(LivesRejected, match="50 lives found, 1 expected"):
        learn_lives({"greedy": SpoiltLife(lambda arrays: arrays.update(many))})
