"""The estimators on real clicks, against what the Open Bandit Pipeline gives on the same logs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bandstand.evaluate import clipped_ips, ips, snips
from tests.evaluate.estimators.test_functions import OBP_NAMES, estimate_as_obp
from tests.evaluate.world import Log

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "ope"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the Open Bandit logs are not beside the project")

PAIRS = ["random_to_bts_all", "random_to_bts_men", "bts_to_random_all"]


def read(pair: str) -> Log:
    logger, _, target, shop = pair.split("_")
    item, position, click, propensity = np.loadtxt(
        DATA / f"obd_small_{logger}_{shop}.csv.gz", delimiter=",", skiprows=1, usecols=(1, 2, 3, 4)
    ).T
    by_position = np.loadtxt(DATA / f"obd_action_dist_{target}_{shop}.csv", delimiter=",").T
    distribution = by_position[position.astype(int)]
    q_hat = np.broadcast_to(np.loadtxt(DATA / f"obd_qhat_{logger}_{shop}.csv"), distribution.shape)
    return Log(click, item.astype(int), propensity, distribution, q_hat)


@pytest.mark.parametrize("pair", PAIRS)
def test_equal_to_open_bandit_pipeline(pair: str) -> None:
    log = read(pair)
    expected = json.loads((DATA / "obd_ope_expected.json").read_text())["results"][pair]
    assert {key if key in OBP_NAMES else key.rsplit("_", 1)[0] for key in expected["expected"]} == set(OBP_NAMES)
    for key, value in expected["expected"].items():
        estimate = estimate_as_obp(key, log)
        assert estimate.n == expected["n"]
        if key == "rm":
            assert math.isnan(estimate.value)
            assert "no row matches" in estimate.warnings[0]
        else:
            assert estimate.value == pytest.approx(value, rel=0, abs=1e-9), key


@pytest.mark.parametrize("pair", PAIRS)
def test_values_and_weights_equal_its_quickstart(pair: str) -> None:
    logger, _, target, shop = pair.split("_")
    expected = json.loads((DATA / "obd_quickstart_0.5.7.json").read_text())["results"][f"{logger}->{target}/{shop}"]
    log = read(pair)
    plain = ips(*log)
    assert plain.value == pytest.approx(expected["estimates"]["ipw"], rel=0, abs=1e-9)
    assert snips(*log).value == pytest.approx(expected["estimates"]["snipw"], rel=0, abs=1e-9)
    assert plain.ess == pytest.approx(expected["ess"], rel=1e-9)
    assert plain.mean_weight == pytest.approx(expected["w_mean"], rel=1e-9)
    assert plain.warnings == ()
    for clip, value in expected["clip"].items():
        assert clipped_ips(*log, clip=float(clip)).value == pytest.approx(value, rel=0, abs=1e-9)
