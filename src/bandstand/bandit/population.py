"""What a population of users teaches about each of them: one prior for all, and for few users one each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Self, TypedDict, Unpack

import numpy as np

from bandstand.bandit.disjoint import DisjointPrior, prior_from_json
from bandstand.bandit.evidence import RIDGE_DEVIATION, SHARED_RIDGE_DEVIATION, PooledSums, fit_scale_free_prior
from bandstand.bandit.prior import (
    MAX_ITERATIONS,
    TOLERANCE,
    Hyperprior,
    UserSums,
    compute_next_user_prior,
    compute_predictive_prior,
    fit_prior,
)
from bandstand.bandit.prior_stack import fit_priors
from bandstand.bandit.ridge import Prior, RidgeState

LEAVE_ONE_OUT_BELOW = 20
"""With fewer users, the prior of each leaves out their own rewards, which would count twice."""

FIRST_FIT_REWARDS = 1
"""Rewards from which the first prior is fitted: until then a reward's unit is taken to be 1."""

_HALF_ALIKE = Hyperprior(users=1.0, mean=1.0)
"""Under ``auto`` half of the base's variance is taken to be everybody's, in μ, and half each user's own, in Σ, until
they show otherwise."""

_GROWTH = 0.15  # of the rewards a prior was fitted to: some forty fits to the first thousand, then ever fewer
_MAX_LEFT_OUT = 1 << 14  # sums a user, up to which there is an estimate for each of few users of many blocks
_WARM_TOLERANCE = 1e-5  # where the next fit goes on anyway
_WORK = 13_000_000  # half a second, at d = 8 as at d = 64
_STEP = 2_500  # what a step of EM costs however little there is to do


REFRESH_REWARDS = 200
"""New rewards after which a population prior over the standard prior is learned again, at the least."""


class PriorForm(NamedTuple):
    """What a scale-free prior must know of the models that it is for.

    Attributes:
        has_intercept: whether their first column is 1 in every row.
        block_count: blocks of weights, 0 where all rows share the same.
    """

    has_intercept: bool
    block_count: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PopulationPrior:
    """What is believed of a user before their first reward, after what others taught.

    Attributes:
        estimate: the population's (μ, Σ, σ²) itself, see :func:`bandstand.bandit.prior.fit_prior`.
        shared: what is believed of a user who is not among those it was learned from, or is one among many.
        leave_one_out: for each user it was learned from, if they are fewer than ``LEAVE_ONE_OUT_BELOW``: the prior from
            the others alone.
        users: how many it was learned from.
        rewards: how many rewards they had given.
    """

    estimate: Prior
    shared: Prior
    leave_one_out: Mapping[str, Prior] = field(default_factory=lambda: MappingProxyType({}))
    users: int = 0
    rewards: int = 0

    def get_prior(self, user_id: str) -> Prior:
        """Return the prior of one user."""
        return self.leave_one_out.get(user_id, self.shared)

    def get_priors(self, user_ids: Sequence[str]) -> list[Prior]:
        """Return the prior of each of some users."""
        own, shared = self.leave_one_out, self.shared
        return [own.get(user_id, shared) for user_id in user_ids] if own else [shared] * len(user_ids)

    @classmethod
    def from_base(cls, base: Prior) -> Self:
        """Return the prior of a population that nobody has met."""
        return cls(base, base)

    @classmethod
    def fit(
        cls,
        members: Mapping[str, RidgeState],
        base: Prior,
        previous: "PopulationPrior | None" = None,
        *,
        steps: int = MAX_ITERATIONS,
        form: "PriorForm | None" = None,
    ) -> Self:
        """Estimate the prior from the sums of some users; see :func:`bandstand.bandit.prior.fit_prior`.

        Args:
            members: the users.
            base: the centre of the hyperprior, where ``form`` does not find it from the members' sums.
            previous: what was learned before, from which the way is shorter.
            steps: at most so many steps of EM for each estimate, see :func:`refresh_steps`.
            form: what the members' models look like; without it they are of one block, and ``base`` is the centre.
        """
        if form is not None:
            sums = PooledSums.from_states(members.values(), base.mean.size)
            is_shared = len(members) > 1 and not form.block_count
            deviation = SHARED_RIDGE_DEVIATION if is_shared else RIDGE_DEVIATION
            fitted = fit_scale_free_prior(
                sums,
                has_intercept=form.has_intercept,
                ridge_deviation=deviation,
                zero_is_origin=not form.block_count,
            )
            base = fitted or base
        rewards = sum(state.count for state in members.values())
        before = previous if previous is not None and previous.users else None
        if form is not None and form.block_count:
            parts = _fit_blocks(members, base, before, steps, form.block_count)
        elif form is not None and len(members) == 1:
            # One user has nobody to learn from. A model for everybody may be wide, and EM would take all its time.
            parts = base, base, MappingProxyType(dict.fromkeys(members, base))
        else:
            parts = _fit_models(members, base, before, steps, is_scale_free=form is not None)
        return cls(*parts, len(members), rewards)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "users": self.users,
            "rewards": self.rewards,
            "estimate": self.estimate.to_json(),
            "shared": self.shared.to_json(),
            "own": {user_id: prior.to_json() for user_id, prior in self.leave_one_out.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read ``to_json`` back, to the last bit.

        Raises:
            ValueError: an entry is missing or not what it should be.
        """
        try:
            own = {str(user_id): prior_from_json(prior) for user_id, prior in document["own"].items()}
            return cls(
                prior_from_json(document["estimate"]),
                prior_from_json(document["shared"]),
                MappingProxyType(own),
                int(document["users"]),
                int(document["rewards"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a population prior: {error}") from error


def refresh_steps(users: int, d: int, share: float = 1.0, blocks: int = 1) -> int:
    """Return how many steps of EM for each estimate make :meth:`PopulationPrior.fit` take about half a second.

    For many wide models that is not all the way; every step improves the estimate, and the next refresh continues.

    >>> refresh_steps(50, 8), refresh_steps(2000, 8), refresh_steps(2000, 8, share=0.5)
    (1000, 88, 44)

    Args:
        users: how many there are to learn from; among few there is an estimate for each of them too.
        d: features.
        share: of the half second, where several priors are due at once.
        blocks: models a user.
    """
    estimates = blocks * (users + 1 if 1 < users < LEAVE_ONE_OUT_BELOW else 1)
    step = _STEP + max(1, users) * d * d * (1 + d / 64)
    return min(MAX_ITERATIONS, max(1, int(_WORK * share / (step * estimates))))


@lru_cache(maxsize=64)  # it is asked at each reward
def count_new_rewards(fitted_rewards: int) -> int:
    """Return after how many new rewards a prior that was fitted to some is fitted again: 1, then 15 % of them.

    >>> [count_new_rewards(rewards) for rewards in (0, 4, 100, 1000)]
    [1, 1, 15, 150]
    """
    return math.ceil(_GROWTH * fitted_rewards) if fitted_rewards else FIRST_FIT_REWARDS


def _fit_models(
    members: Mapping[str, RidgeState], base: Prior, previous: PopulationPrior | None, steps: int, *, is_scale_free: bool
) -> tuple[Prior, Prior, Mapping[str, Prior]]:
    """Return estimate, shared and leave-one-out priors of models without blocks."""
    start, begun = (previous.estimate, previous.leave_one_out) if previous else (None, {})
    tolerance = _WARM_TOLERANCE if previous else TOLERANCE
    sums = UserSums.from_states(list(members.values()), base.mean.size)
    hyperprior, centre = Hyperprior(), base
    if is_scale_free:
        share = _HALF_ALIKE.mean / (1.0 + _HALF_ALIKE.mean)
        hyperprior, centre = _HALF_ALIKE, Prior(base.mean, share * base.covariance, base.noise)

    def predict(users: UserSums, estimate: Prior) -> Prior:
        if is_scale_free:
            return compute_next_user_prior(users, estimate, hyperprior)
        return compute_predictive_prior(estimate, len(users), base)

    estimate, others = _fit_each(
        sums,
        centre,
        start,
        [begun.get(user_id) for user_id in members] if len(members) < LEAVE_ONE_OUT_BELOW else [],
        hyperprior=hyperprior,
        iterations=steps,
        tolerance=tolerance,
    )
    own = {
        user_id: predict(sums.exclude_user(place), prior)
        for place, (user_id, prior) in enumerate(zip(members, others, strict=False))
    }
    return estimate, predict(sums, estimate), MappingProxyType(own)


class _Options(TypedDict, total=False):
    """What is the same for all estimates of one fit, see :func:`bandstand.bandit.prior.fit_prior`."""

    noise: float | None
    hyperprior: Hyperprior
    iterations: int
    tolerance: float


def _fit_each(
    users: UserSums, base: Prior, start: Prior | None, own_starts: Sequence[Prior | None], **options: Unpack[_Options]
) -> tuple[Prior, list[Prior]]:
    """Return the estimate from all users, and one without each user for whom there is a start, which may be None.

    None starts from the estimate: a few steps would leave in it what the left-out user told.
    """
    count = len(own_starts)
    if not count:
        return fit_prior(users, base, start=start, **options), []
    included = np.vstack([np.ones((1, count), np.bool_), ~np.eye(count, dtype=np.bool_)])
    estimate, *others = fit_priors(users, included, base, starts=[start, *own_starts], **options)
    return estimate, others


def _fit_blocks(
    members: Mapping[str, RidgeState], base: Prior, previous: PopulationPrior | None, steps: int, blocks: int
) -> tuple[Prior, Prior, Mapping[str, Prior]]:
    """Return the same of models with blocks: each block's users are exchangeable, and the noise is the base's.

    A single user can only learn from the other blocks, and that is the base. Wide models of few users have the base
    too: an estimate for each of them takes too long to make and to keep.
    """
    alone = len(members) == 1
    tolerance = _WARM_TOLERANCE if previous else TOLERANCE
    few = alone or (len(members) < LEAVE_ONE_OUT_BELOW and blocks * base.mean.size**2 > _MAX_LEFT_OUT)
    has_own = not few and len(members) < LEAVE_ONE_OUT_BELOW
    estimates, shared, own = [], [], {user_id: [base] * blocks for user_id in members}
    for block in range(blocks):
        taught = {
            user_id: RidgeState(state.sums[block], None, state.weight, state.count)
            for user_id, state in members.items()
            if state.gram[block].any()
        }
        start = _get_block(previous.estimate, block, blocks) if previous else None
        sums = UserSums.from_states(list(taught.values()), base.mean.size)
        starts: list[Prior | None] = []
        if has_own:
            earlier = [previous.leave_one_out.get(user_id) if previous else None for user_id in taught]
            starts = [_get_block(prior, block, blocks) if prior else None for prior in earlier]
        estimate, others = base, list[Prior]()
        if not alone:
            estimate, others = _fit_each(
                sums, base, start, starts, noise=base.noise, iterations=steps, tolerance=tolerance
            )
        estimates.append(estimate)
        shared.append(compute_predictive_prior(estimate, 0 if alone else len(taught), base))
        for user_id in members.keys() - taught.keys():
            own[user_id][block] = shared[block]
        for user_id, prior in zip(taught, others, strict=False):
            own[user_id][block] = compute_predictive_prior(prior, len(taught) - 1, base)
    if few:
        left_out: dict[str, Prior] = dict.fromkeys(members, base)
    elif has_own:
        left_out = {user_id: DisjointPrior.from_blocks(priors) for user_id, priors in own.items()}
    else:
        left_out = {}
    if not members:
        return base, base, MappingProxyType({})
    return DisjointPrior.from_blocks(estimates), DisjointPrior.from_blocks(shared), MappingProxyType(left_out)


def _get_block(prior: Prior, block: int, blocks: int) -> Prior | None:
    """Return one block's prior, if there are several."""
    fits = isinstance(prior, DisjointPrior) and len(prior.blocks) == blocks
    return prior.blocks[block] if fits else None  # type: ignore[attr-defined]  # `fits` says that it has them
