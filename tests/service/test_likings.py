"""What sets a user apart: in words, with an interval."""

import math
import tomllib
from importlib.resources import files

import numpy as np
import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.service.likings import list_likings

SCHEMA = Catalogue.parse(tomllib.loads(files("bandstand").joinpath("defaults.toml").read_text("utf-8"))).schemas[
    "tips-v2"
]
SURE = np.eye(SCHEMA.dimension) * 1e-4


def weigh(**weights: float) -> np.ndarray:
    return np.array([weights.get(label, 0.0) for label in SCHEMA.labels])


def test_the_surest_comes_first_and_a_cycle_is_its_best_moment() -> None:
    evening = 2 * math.pi * 19 / 24
    difference = weigh(is_overdue=0.3, priority=-0.2, hour_sin=math.sin(evening) / 10, hour_cos=math.cos(evening) / 10)
    found = list_likings(SCHEMA, difference, SURE)
    assert [(each.words, round(each.value, 6), each.is_sure) for each in found[:3]] == [
        ("is overdue", 0.3, True),
        ("more priority", -0.2, True),
        ("hour of day around 19", 0.1, True),
    ]
    assert not any(each.is_sure for each in found[3:])
    for each in found:
        assert each.half == pytest.approx(1.959963984540054 * 0.01)


def test_the_interval_of_a_cycle_is_along_its_best_moment() -> None:
    covariance = SURE.copy()
    at = SCHEMA.labels.index("hour_sin")
    covariance[at, at] = 0.25
    (along,) = [each for each in list_likings(SCHEMA, weigh(hour_sin=1.0), covariance) if "hour" in each.words]
    (across,) = [each for each in list_likings(SCHEMA, weigh(hour_cos=1.0), covariance) if "hour" in each.words]
    assert (along.half, across.half) == pytest.approx((1.959963984540054 * 0.5, 1.959963984540054 * 0.01))


def test_a_stranger_is_like_a_stranger() -> None:
    assert not any(each.is_sure for each in list_likings(SCHEMA, weigh(), SURE))
