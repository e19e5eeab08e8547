"""The policy a user meets: in this process, by the very code that serves, or a running service."""

from typing import NamedTuple, Protocol

from bandstand.bandit.choice import choose
from bandstand.bandit.policies import Policy
from bandstand.bandit.profile import Profile
from bandstand.simulate.reaction import Reaction
from bandstand.simulate.world import Episode


class Decided(NamedTuple):
    """A pick, as the caller of ``/score`` hears of it."""

    pick: int
    score: float
    propensity: float
    exploring: bool


class Learner(Protocol):
    """One policy with one user, in the product's two phases: score, then reward."""

    async def decide(self, step: int) -> Decided:
        """Pick one of the candidates of a step; steps come in order."""

    async def learn(self, reaction: Reaction) -> None:
        """Hear what the user did with the last pick."""


class LocalLearner:
    """A policy in this process, with a profile that is folded as the stores fold it.

    Serving does the same two things between its request and its ledger: :func:`bandstand.bandit.choice.choose`, and the
    folds of :class:`bandstand.bandit.profile.Profile`.

    Args:
        policy: who decides.
        episode: the user's n decisions; its draws are the same for every policy.
    """

    def __init__(self, policy: Policy, episode: Episode) -> None:
        self.profile = Profile("simulated")
        self._policy = policy
        self._x = episode.slates.encoded(policy.schema)
        self._draws = episode.policy_draws.tolist()
        self._times = episode.times.tolist()
        self._key = (policy.name, policy.schema.name)
        self._seq = 0

    async def decide(self, step: int) -> Decided:
        """Pick one of the candidates of a step."""
        x, now = self._x[step], self._times[step]
        distribution, pick, exploring = choose(self._policy, self.profile, x, self._draws[step], now=now)
        self._seq += 1
        self.profile.decided(self._seq, self._key, now, exploring=exploring)
        self._picked, self._now = x[pick], now
        return Decided(pick, float(distribution.score[pick]), distribution.propensity(pick), exploring)

    async def learn(self, reaction: Reaction) -> None:
        """Teach the reward of the last pick."""
        self._seq += 1
        self.profile.rewarded(self._seq, self._key, self._now, self._picked, reaction.reward, 1.0, self._policy.half_life)
