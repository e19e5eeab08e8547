"""Policies: from what is believed of a user to a probability for every candidate.

A policy is configuration and arithmetic; what it has learned is the :class:`~bandstand.bandit.ridge.Posterior` it is
given. Each kind reads one feature schema, states its parameters with their limits, and returns a
:class:`~bandstand.bandit.distribution.Distribution`, which is drawn from elsewhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.definition import configuration_error, definition_hash, is_number, unknown
from bandstand.bandit.distribution import Distribution, ties
from bandstand.bandit.errors import FieldError
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.ridge import Posterior, Prior


class Parameter(NamedTuple):
    """A number a kind of policy may be given: its value when it is not, and its limits, both included."""

    default: float
    minimum: float
    maximum: float


class Policy(ABC):
    """One configured policy.

    Args:
        name: what callers ask for.
        schema: how it sees context and candidates.
        parameters: values for its kind's parameters; the others take their defaults.

    Attributes:
        hash: 16 hex digits over kind, parameters and the schema's hash.
        prior: what it believes of a user it has never met.

    Raises:
        ConfigurationError: names every unknown parameter and every value out of its limits.
    """

    kind: ClassVar[str]
    accepts: ClassVar[Mapping[str, Parameter]]

    def __init__(self, name: str, schema: FeatureSchema, parameters: Mapping[str, object]) -> None:
        self.name = name
        self.schema = schema
        self.parameters: Mapping[str, float] = MappingProxyType(self.check(name, parameters))
        self.prior = Prior.standard(schema.dimension)
        self.hash = definition_hash({"kind": self.kind, "parameters": dict(self.parameters), "schema": schema.hash})

    def __repr__(self) -> str:
        values = "".join(f", {key}={value:g}" for key, value in self.parameters.items())
        return f"{type(self).__name__}({self.name!r}, {self.schema.name!r}{values})"

    @abstractmethod
    def distribution(self, posterior: Posterior, x: FloatArray) -> Distribution:
        """Return the distribution over the K candidates encoded in x, shape (K, d), K ≥ 1.

        Pure: the same arguments give the same answer, and none of them is changed or kept.

        Raises:
            ValueError: x has no row or does not fit the posterior, or a score is not finite.
        """

    @classmethod
    def check(cls, name: str, parameters: Mapping[str, object]) -> dict[str, float]:
        """Return a value for every parameter of this kind.

        Raises:
            ConfigurationError: names every unknown parameter and every value out of its limits.
        """
        faults = [
            FieldError(f"policies.{name}.{key}", unknown(key, ("kind", "schema", *cls.accepts)))
            for key in parameters
            if key not in cls.accepts
        ]
        checked: dict[str, float] = {}
        for key, (default, minimum, maximum) in cls.accepts.items():
            value = parameters.get(key, default)
            if is_number(value) and minimum <= value <= maximum:
                checked[key] = float(value)
            else:
                limits = f"a number from {minimum:g} to {maximum:g}"
                faults.append(FieldError(f"policies.{name}.{key}", f"must be {limits}"))
        if faults:
            raise configuration_error(faults)
        return checked


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
    accepts: ClassVar[Mapping[str, Parameter]] = {
        "alpha": Parameter(1.0, 0.0, 1e6),
        "floor": Parameter(0.0, 0.0, 1.0),
    }

    def distribution(self, posterior: Posterior, x: FloatArray) -> Distribution:
        """Return the mixture of the best upper bound and the floor."""
        mean = x.dot(posterior.mean)
        width = posterior.widths(x)
        score = mean + self.parameters["alpha"] * width
        return Distribution(mean, width, score, ties(score), self.parameters["floor"])


class EpsilonGreedy(Policy):
    """With probability ε a uniform pick, else the largest θ·x; score = θ·x.

    Sutton and Barto 2018, §2.2, over a ridge estimate. A constant ε explores for ever and costs ε times the regret of a
    uniform pick; a decaying one would be needed for vanishing regret (Auer et al. 2002, theorem 3).
    """

    kind = "egreedy"
    accepts: ClassVar[Mapping[str, Parameter]] = {"epsilon": Parameter(0.1, 0.0, 1.0)}

    def distribution(self, posterior: Posterior, x: FloatArray) -> Distribution:
        """Return the mixture of the best mean and ε; the widths are for the receipt alone."""
        mean = x.dot(posterior.mean)
        return Distribution(mean, posterior.widths(x), mean, ties(mean), self.parameters["epsilon"])


KINDS: Mapping[str, type[Policy]] = {kind.kind: kind for kind in (LinUCB, EpsilonGreedy)}
"""Every kind a definition may name."""
