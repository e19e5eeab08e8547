import numpy as np

from bandstand.evaluate.estimators.arrival import RewardArrival
from tests.evaluate.world import World

WORLD = World()
LOG = WORLD.draw_log(4000, seed=21)
WEIGHT = LOG.target[np.arange(4000), LOG.action] / LOG.propensity


def test_rewards_that_arrive_by_chance_raise_no_doubt() -> None:
    """500 logs in which a third of the rewards is lost: a false alarm at three errors is one in 370."""
    alarms = 0
    for seed in range(500):
        arrival = RewardArrival()
        log = WORLD.draw_log(300, seed)
        weight = log.target[np.arange(300), log.action] / log.propensity
        arrival.add(weight, np.random.default_rng(seed).random(300) < 1 / 3)
        alarms += arrival.describe_selection_bias() is not None
    assert alarms <= 8


def test_rewards_that_do_not_arrive_after_what_the_target_does_raise_doubt() -> None:
    arrival = RewardArrival()
    lost = (LOG.action == LOG.target.argmax(axis=1)) & (np.random.default_rng(0).random(4000) < 0.3)
    arrival.add(WEIGHT, lost)
    doubt = arrival.describe_selection_bias()
    assert doubt is not None
    assert doubt.startswith("rewards arrive selectively: the mean weight is ")
    assert f"{WEIGHT[~lost].mean():.4g} where one came" in doubt
    assert f"{WEIGHT[lost].mean():.4g} where none did" in doubt


def test_the_happy_alone_answering_shows_where_the_target_makes_more_of_them_happy() -> None:
    """An arrival that hangs on the outcome shows through the actions that lead to it, and only so."""
    for target, shows in ((np.eye(4)[WORLD.reward.argmax(axis=1)], True), (WORLD.logger, False)):
        log = WORLD.draw_log(4000, seed=22, target=target)
        arrival = RewardArrival()
        arrival.add(log.target[np.arange(4000), log.action] / log.propensity, log.reward == 0)
        assert (arrival.describe_selection_bias() is not None) == shows


def test_chunks_add_up() -> None:
    missing = LOG.action == 0
    whole, parts = RewardArrival(), RewardArrival()
    whole.add(WEIGHT, missing)
    for part in (slice(0, 1), slice(1, 1000), slice(1000, 4000)):
        parts.add(WEIGHT[part], missing[part])
    assert (
        (parts.decision_count, parts.rewarded_count)
        == (whole.decision_count, whole.rewarded_count)
        == (4000, int((~missing).sum()))
    )
    assert parts.describe_selection_bias() == whole.describe_selection_bias()


def test_a_full_log_or_one_with_a_single_gap_raises_none() -> None:
    for lost in (0, 1, 3999, 4000):
        arrival = RewardArrival()
        arrival.add(WEIGHT, np.arange(4000) < lost)
        assert arrival.describe_selection_bias() is None
