"""Policies: from what is believed of a user to a probability for every candidate.

A policy is configuration and arithmetic; what it has learned is the :class:`~bandstand.bandit.ridge.Posterior` it is
given. Each kind reads one feature schema, states its parameters with their limits, and returns a
:class:`~bandstand.bandit.distribution.Distribution`, which is drawn from elsewhere.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from bandstand.bandit.arrays import FloatArray, read_only
from bandstand.bandit.disjoint import to_disjoint_posterior
from bandstand.bandit.distribution import (
    TIE_TOLERANCE,
    Distribution,
    DistributionBatch,
    compute_greedy_probabilities,
    compute_greedy_rows,
)
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.memory import Memory
from bandstand.bandit.population import REFRESH_REWARDS, PopulationPrior, PriorForm, refresh_steps
from bandstand.bandit.prior import MAX_ITERATIONS
from bandstand.bandit.ridge import Posterior, Prior, RidgeState
from bandstand.bandit.stacks import compute_stacked_moments
from bandstand.definition import describe_unknown, hash_definition, is_number, to_configuration_error
from bandstand.errors import FieldError

PriorKind = Literal["auto", "standard", "population"]


class ParameterLimits(NamedTuple):
    """A number a kind of policy may be given: its value when it is not, and its limits, both included."""

    default: float
    minimum: float
    maximum: float


_PRIOR_PARAMETERS = {"variance": ParameterLimits(1.0, 1e-6, 1e6), "noise": ParameterLimits(1.0, 1e-6, 1e6)}
"""The standard prior N(0, variance·I) and a reward's noise σ². The first hashes did not know them: at their defaults
they are not in a policy's hash."""


class Policy(ABC):
    """One configured policy.

    Args:
        name: what callers ask for.
        schema: how it sees context and candidates.
        parameters: values for its kind's parameters and options; the others take their defaults.

    Attributes:
        hash: 16 hex digits over kind, parameters, options and the schema's hash.
        prior: what it believes of a user it has never met, where no rewards have taught it better.
        prior_kind: how it comes by that: ``auto``, ``standard`` or ``population``; None if it believes nothing.
        learns_prior: whether rewards teach it that; what they taught is kept elsewhere.
        refresh_rewards: new rewards after which that prior is learned again; ``None`` for few at first, then by growth.
        prior_form: what must be known of the models to learn the prior.
        sums_width: the d of a model without blocks whose sums are as many as a user's are here.
        half_life: days in which what a user taught loses half of its weight; 0 for never.
        adapts_memory: whether that follows what its users do (``half_life = "auto"``), and is kept elsewhere.
        memory: which rewards count, where nothing else was found.

    Raises:
        ConfigurationError: names every unknown parameter and every value that is not allowed.
    """

    kind: ClassVar[str]
    parameter_limits: ClassVar[Mapping[str, ParameterLimits]]
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What a kind may be told in words: the allowed ones, the default first."""

    def __init__(self, name: str, schema: FeatureSchema, parameters: Mapping[str, object]) -> None:
        self.name = name
        self.schema = schema
        numbers, words = self.check_parameters(name, parameters)
        self.parameters: Mapping[str, float] = MappingProxyType(numbers)
        self.prior = Prior(
            np.zeros(schema.weight_count),
            numbers.get("variance", 1.0) * np.eye(schema.weight_count),
            numbers.get("noise", 1.0),
        )
        self.prior_kind = _PRIOR_KINDS.get(words.get("prior", ""))
        self.learns_prior = self.prior_kind not in {None, _STANDARD}
        if self.prior_kind == "population" and schema.block_count:
            blocks = schema.block_count
            fault = (
                f"must be standard or auto: a population prior is of one model, and {schema.name} has {blocks} blocks"
            )
            raise to_configuration_error([FieldError(f"policies.{name}.prior", fault)])
        self.refresh_rewards = None if self.prior_kind == _AUTO else REFRESH_REWARDS
        self.prior_form = PriorForm(schema.has_intercept, schema.block_count)
        self.sums_width = math.isqrt(max(1, schema.block_count) * schema.weight_count**2)
        self.half_life = numbers.get("half_life", 0.0)
        self.adapts_memory = words.get("half_life") == _AUTO
        self.memory = Memory(self.half_life)
        late = {key for key, (default, *_) in _PRIOR_PARAMETERS.items() if numbers.get(key) == default}
        meant = {key: value for key, value in {**numbers, **words}.items() if key not in late}
        self.hash = hash_definition({"kind": self.kind, "parameters": meant, "schema": schema.hash})

    def __repr__(self) -> str:
        values = "".join(f", {key}={value:g}" for key, value in self.parameters.items())
        return f"{type(self).__name__}({self.name!r}, {self.schema.name!r}{values})"

    def distribution(self, posterior: Posterior, x: FloatArray, seed: float = 0.0) -> Distribution:
        """Return the distribution over the K candidates encoded in x, shape (K, d), K ≥ 1.

        Pure: the same arguments give the same answer, and none of them is changed or kept.

        Args:
            posterior: what is believed of the user; of a schema with blocks, of each block, or the same of all.
            x: the candidates.
            seed: in [0, 1); a kind that draws derives its draws from it. The pick must not depend on it.

        Raises:
            ValueError: x has no row or does not fit the posterior, or a score is not finite.
        """
        return self._distribution(
            to_disjoint_posterior(posterior, self.schema.block_count) if self.schema.block_count else posterior, x, seed
        )

    def fit_prior(
        self, members: Mapping[str, RidgeState], previous: PopulationPrior | None = None, *, share: float = 1.0
    ) -> PopulationPrior:
        """Learn what to believe of users from what some of them taught; see :class:`PopulationPrior`.

        Args:
            members: their sums.
            previous: continue from here, for about half a second; without it, from the base prior until it converges,
                or for half a minute with blocks.
            share: of that time.
        """
        blocks = self.schema.block_count
        steps = refresh_steps(len(members), self.schema.weight_count, share, max(1, blocks))
        if previous is None:
            steps = _COLD_STEPS * steps if blocks else MAX_ITERATIONS
        return PopulationPrior.fit(
            members, self.prior, previous, steps=steps, form=self.prior_form if self.prior_kind == _AUTO else None
        )

    def compute_distributions(
        self, posteriors: Sequence[Posterior], x: FloatArray, seeds: FloatArray
    ) -> DistributionBatch:
        """Return the distributions of n requests of K candidates each, as :meth:`distribution` states each.

        Args:
            posteriors: what is believed of the user of each.
            x: the candidates of each, shape (n, K, d).
            seeds: one for each, shape (n,).

        Raises:
            ValueError: as :meth:`distribution`, for whichever.
        """
        return DistributionBatch.stack(list(map(self.distribution, posteriors, x, seeds.tolist())))

    @abstractmethod
    def _distribution(self, posterior: Posterior, x: FloatArray, seed: float) -> Distribution:
        """Return the distribution as :meth:`distribution` states it."""

    @classmethod
    def check_parameters(cls, name: str, parameters: Mapping[str, object]) -> tuple[dict[str, float], dict[str, str]]:
        """Return a value for every parameter and for every option of this kind.

        Raises:
            ConfigurationError: names every unknown parameter and every value that is not allowed.
        """
        known = ("kind", "schema", *cls.parameter_limits, *cls.options)
        faults = [
            FieldError(f"policies.{name}.{key}", describe_unknown(key, known))
            for key in parameters
            if key not in cls.parameter_limits and key not in cls.options
        ]
        numbers: dict[str, float] = {}
        words: dict[str, str] = {}
        for key, (default, minimum, maximum) in cls.parameter_limits.items():
            value = parameters.get(key, default)
            if key == "half_life" and value == _AUTO:
                numbers[key], words[key] = 0.0, _AUTO
            elif is_number(value) and minimum <= value <= maximum:
                numbers[key] = float(value)
            else:
                limits = f"a number from {minimum:g} to {maximum:g}" + ' or "auto"' * (key == "half_life")
                faults.append(FieldError(f"policies.{name}.{key}", f"must be {limits}"))
        for key, allowed in cls.options.items():
            word = parameters.get(key, allowed[0])
            if isinstance(word, str) and word in allowed:
                words[key] = word
            else:
                faults.append(FieldError(f"policies.{name}.{key}", describe_unknown(str(word), allowed)))
        if faults:
            raise to_configuration_error(faults)
        if "prior" in words and "prior" not in parameters and not _PRIOR_PARAMETERS.keys().isdisjoint(parameters):
            words["prior"] = _STANDARD  # who says what to believe means it
        return numbers, words


_FLOOR = ParameterLimits(0.0, 0.0, 1.0)
_HALF_LIFE = ParameterLimits(0.0, 0.0, 36_500.0)
_AUTO = "auto"
_STANDARD = "standard"
_PRIOR = (_AUTO, "population", _STANDARD)
_PRIOR_KINDS: Mapping[str, PriorKind] = {"auto": "auto", "standard": "standard", "population": "population"}
"""``population`` learns what users have in common from the standard prior on; ``auto`` finds the units too."""


class LinUCB(Policy):
    """Optimism: score = θ·x + α √(xᵀ V x), the largest score wins, and a floor δ of uniform picks.

    Li, Chu, Langford, Schapire 2010, "A contextual-bandit approach to personalized news article recommendation",
    Algorithm 1, with one model over all candidates instead of one per arm. Their α = 1 + √(ln(2/δ')/2) makes the score
    an upper confidence bound where rewards are linear in x and the rounds independent of what was learned before. The
    regret bounds (Chu et al. 2011 for SupLinUCB; Abbasi-Yadkori et al. 2011 for a growing α) say nothing about a
    constant α, a model that is misspecified (v1 has no intercept), or δ > 0: the floor costs at most δ times the
    regret of a uniform pick, for ever, and buys propensities ≥ δ/K, without which no other policy can be evaluated on
    the log. With δ = 0 the propensities are 1 and, at ties, shares.
    """

    kind = "linucb"
    parameter_limits: ClassVar[Mapping[str, ParameterLimits]] = {
        "alpha": ParameterLimits(1.0, 0.0, 1e6),
        "floor": _FLOOR,
        "half_life": _HALF_LIFE,
        **_PRIOR_PARAMETERS,
    }
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {"prior": _PRIOR}

    def _distribution(self, posterior: Posterior, x: FloatArray, seed: float) -> Distribution:  # noqa: ARG002 (draws nothing)
        """Return the mixture of the best upper bound and the floor."""
        mean = posterior.compute_means(x)
        width = posterior.compute_widths(x)
        score = mean + self.parameters["alpha"] * width
        return Distribution(mean, width, score, compute_greedy_probabilities(score), self.parameters["floor"])

    def compute_distributions(
        self, posteriors: Sequence[Posterior], x: FloatArray, seeds: FloatArray
    ) -> DistributionBatch:
        """Return all of them by one product each for means and widths."""
        if self.schema.block_count:
            return super().compute_distributions(posteriors, x, seeds)
        mean, width = compute_stacked_moments(posteriors, x)
        score = mean + self.parameters["alpha"] * width
        return DistributionBatch(mean, width, score, compute_greedy_rows(score), self.parameters["floor"])


class EpsilonGreedy(Policy):
    """With probability ε a uniform pick, else the largest θ·x; score = θ·x.

    Sutton and Barto 2018, §2.2, over a ridge estimate. A constant ε explores for ever and costs ε times the regret of a
    uniform pick; a decaying one would be needed for vanishing regret (Auer et al. 2002, theorem 3).
    """

    kind = "egreedy"
    parameter_limits: ClassVar[Mapping[str, ParameterLimits]] = {
        "epsilon": ParameterLimits(0.1, 0.0, 1.0),
        "half_life": _HALF_LIFE,
        **_PRIOR_PARAMETERS,
    }
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {"prior": _PRIOR}

    def _distribution(self, posterior: Posterior, x: FloatArray, seed: float) -> Distribution:  # noqa: ARG002 (draws nothing)
        """Return the mixture of the best mean and ε; the widths are for the receipt alone."""
        mean = posterior.compute_means(x)
        return Distribution(
            mean, posterior.compute_widths(x), mean, compute_greedy_probabilities(mean), self.parameters["epsilon"]
        )

    def compute_distributions(
        self, posteriors: Sequence[Posterior], x: FloatArray, seeds: FloatArray
    ) -> DistributionBatch:
        """Return all of them by one product each for means and widths."""
        if self.schema.block_count:
            return super().compute_distributions(posteriors, x, seeds)
        mean, width = compute_stacked_moments(posteriors, x)
        return DistributionBatch(mean, width, mean, compute_greedy_rows(mean), self.parameters["epsilon"])


class Thompson(Policy):
    """Thompson sampling over a linear model, by a distribution that is known: p = (1 − δ) f + δ/K.

    f_i is the share of 128 draws θ ~ N(m, s²V) for which candidate i has the largest θ·x, ties sharing. The pick is
    drawn from p itself, so p is its exact propensity, whatever f misses of the probability it estimates (its standard
    error is at most 0.044; the floor δ keeps every p above 0). score = θ·x at the posterior mean.

    Agrawal and Goyal 2013, "Thompson sampling for contextual bandits with linear payoffs", algorithm 1, where one draw
    decides and s = v = R √(9 d ln(t/δ')). Their regret bound needs that inflation; s = 1 is what a Bayesian with this
    prior does (Russo and Van Roy 2014), and has a bound in expectation over the prior, if the prior is right.
    """

    kind = "thompson"
    parameter_limits: ClassVar[Mapping[str, ParameterLimits]] = {
        "scale": ParameterLimits(1.0, 0.0, 1e6),
        "floor": _FLOOR,
        "half_life": _HALF_LIFE,
        **_PRIOR_PARAMETERS,
    }
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {"prior": _PRIOR}

    def _distribution(self, posterior: Posterior, x: FloatArray, seed: float) -> Distribution:
        """Return the mixture of the frequencies of the best draw and the floor."""
        mean = posterior.compute_means(x)
        if not len(mean):
            raise ValueError(_EMPTY)
        bank = _build_normal_draws(posterior.mean.shape[-1])
        first = int(seed * (len(bank) - _DRAWS + 1))
        reach = posterior.compute_draw_deviations(x, bank, first, _DRAWS)
        draws = mean[:, None] + self.parameters["scale"] * reach  # (K, 128)
        best = draws.max(axis=0)
        if not np.isfinite(best).all():
            raise ValueError("scores must be finite")
        tied = draws >= best - TIE_TOLERANCE * np.maximum(1.0, np.abs(best))
        frequency = (tied / np.count_nonzero(tied, axis=0)).mean(axis=1)
        return Distribution(mean, posterior.compute_widths(x), mean, frequency, self.parameters["floor"])


class SquareCB(Policy):
    """Inverse gap weighting: p_i = 1/(K + γ·gap_i) for all but the best, which has what is left; then a floor.

    gap_i = (max θ·x − θ·x_i)/σ, in the deviations of a reward, so that γ means the same whatever the rewards' unit is
    (σ is 1 under the standard prior); score = θ·x; candidates tied for best share. Abe and Long 1999, "Associative
    reinforcement learning using linear probabilistic concepts"; Foster and Rakhlin 2020, "Beyond UCB", algorithm 1
    (SquareCB), whose regret is O(√(K T R)) for a regression oracle of regret R if γ = √(K T/(R + ln(2/δ'))): γ here is
    a constant, and so does not fall behind or run ahead of a horizon that nobody knows. A user with larger gaps is
    explored less.
    """

    kind = "squarecb"
    parameter_limits: ClassVar[Mapping[str, ParameterLimits]] = {
        "gamma": ParameterLimits(100.0, 0.0, 1e9),
        "floor": _FLOOR,
        "half_life": _HALF_LIFE,
        **_PRIOR_PARAMETERS,
    }
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {"prior": _PRIOR}

    def _distribution(self, posterior: Posterior, x: FloatArray, seed: float) -> Distribution:  # noqa: ARG002 (draws nothing)
        """Return the mixture of the inverse gaps and the floor."""
        mean = posterior.compute_means(x)
        best = compute_greedy_probabilities(mean)
        gap = (mean.max() - mean) / math.sqrt(posterior.noise)
        others = np.where(best > 0.0, 0.0, 1.0 / (len(mean) + self.parameters["gamma"] * gap))
        share = others + (1.0 - others.sum()) * best
        return Distribution(mean, posterior.compute_widths(x), mean, share, self.parameters["floor"])


class Uniform(Policy):
    """Every candidate with probability 1/K, whatever was learned: the log that any other policy can be evaluated on.

    It maximises nothing, so all scores are 0; θ·x and its deviation are still stated, for the receipt.
    """

    kind = "uniform"
    parameter_limits: ClassVar[Mapping[str, ParameterLimits]] = {}

    def _distribution(self, posterior: Posterior, x: FloatArray, seed: float) -> Distribution:  # noqa: ARG002 (draws nothing)
        """Return 1/K, all of it as exploration."""
        mean = posterior.compute_means(x)
        score = np.zeros(len(mean))
        return Distribution(mean, posterior.compute_widths(x), score, compute_greedy_probabilities(score), 1.0)


class First(Policy):
    """The candidate that the caller put first: what the product did before, as a control, and a floor δ.

    All scores are 0, so that a ranking by score is the caller's own order.
    """

    kind = "first"
    parameter_limits: ClassVar[Mapping[str, ParameterLimits]] = {"floor": _FLOOR}

    def _distribution(self, posterior: Posterior, x: FloatArray, seed: float) -> Distribution:  # noqa: ARG002 (draws nothing)
        """Return the mixture of the first candidate and the floor."""
        mean = posterior.compute_means(x)
        if not len(mean):
            raise ValueError(_EMPTY)
        first = np.zeros(len(mean))
        first[0] = 1.0
        return Distribution(mean, posterior.compute_widths(x), np.zeros(len(mean)), first, self.parameters["floor"])


KINDS: Mapping[str, type[Policy]] = {
    kind.kind: kind for kind in (LinUCB, EpsilonGreedy, Thompson, SquareCB, Uniform, First)
}
"""Every kind a definition may name."""

_COLD_STEPS = 60
_EMPTY = "the list of candidates is empty"
_DRAWS, _BANK = 128, 4096


@lru_cache
def _build_normal_draws(d: int) -> FloatArray:
    """Return standard normal draws, (4096, d), of which a decision takes a window: 100 times as fast as drawing."""
    return read_only(np.random.default_rng(d).standard_normal((_BANK, d)))
