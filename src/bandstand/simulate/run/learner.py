"""The policy that users meet: in this process, by the very code that serves, or a running service."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from bandstand.bandit.choice import choose
from bandstand.bandit.disjoint import compute_block_prior
from bandstand.bandit.memory import Memory, MemoryTracker, TaughtReward
from bandstand.bandit.policies import Policy
from bandstand.bandit.profile import Profile
from bandstand.simulate.run.population import SimulatedPopulation
from bandstand.simulate.world.reaction import Reaction
from bandstand.simulate.world.world import Episode


class ScoredPick(NamedTuple):
    """A pick, as the caller of ``/score`` sees it."""

    pick: int
    score: float
    propensity: float
    exploring: bool


class ChatFeedback(NamedTuple):
    """What was made of a user's message.

    Attributes:
        label: how the user took the pick, None if nobody could say.
        reward: what is taught, None if nothing is.
    """

    label: str | None
    reward: float | None


class Learner(Protocol):
    """One policy with one user, in the product's two phases: score, then reward."""

    @property
    def is_persistent(self) -> bool:
        """Whether what it was taught outlives this process."""

    async def decide(self, step: int) -> ScoredPick:
        """Pick one of the candidates of a step; steps come in order."""

    async def learn(self, reaction: Reaction, feedback: ChatFeedback | None = None) -> ChatFeedback | None:
        """Learn from what the user did with the last pick.

        Args:
            reaction: what they did.
            feedback: if the step is repeated, its earlier feedback.

        Returns:
            What was made of it, where users talk; None if they act, which speaks for itself.
        """


class Cohort(Protocol):
    """One policy with all users of a world."""

    @property
    def learners(self) -> Sequence[Learner]:
        """One for each user, who knows nothing of them yet."""

    def end_round(self) -> None:
        """Called when every user has finished the round."""


class LocalLearner:
    """A policy in this process, with a profile that is folded as the stores fold it.

    Serving does the same two things between its request and its ledger: :func:`bandstand.bandit.choice.choose`, and the
    folds of :class:`bandstand.bandit.profile.Profile`.

    Args:
        policy: who decides.
        episode: the user's n decisions; its draws are the same for every policy.
        user_id: the user's name.
        population: what the users of this world teach about each other; None if the policy does not ask.
        tracker: which rewards count, of a policy that finds out; None of others.
    """

    is_persistent = False

    def __init__(
        self,
        policy: Policy,
        episode: Episode,
        user_id: str = "simulated",
        population: SimulatedPopulation | None = None,
        tracker: MemoryTracker | None = None,
    ) -> None:
        self.profile = Profile(user_id)
        self._policy = policy
        self._population = population
        self._tracker = tracker
        self._x = episode.slates.encode(policy.schema)
        self._draws = episode.policy_draws.tolist()
        self._times: list[float] = episode.times.tolist()
        self._key = (policy.name, policy.schema.name)
        self._seq = 0

    async def decide(self, step: int) -> ScoredPick:
        """Pick one of the candidates of a step."""
        x, now = self._x[step], self._times[step]
        prior = None if self._population is None else self._population.get_prior(self.profile.user_id)
        choice = choose(self._policy, self.profile, x, self._draws[step], prior=prior, now=now)
        distribution, pick, exploring = choice
        self._seq += 1
        self.profile.apply_decision(self._seq, self._key, now, exploring=exploring)
        self._picked, self._now = x[pick], now
        return ScoredPick(pick, float(distribution.score[pick]), distribution.propensity(pick), exploring)

    async def learn(self, reaction: Reaction, feedback: ChatFeedback | None = None) -> None:  # noqa: ARG002 (where users talk)
        """Teach the reward of the last pick."""
        profile, memory = self.profile, self._policy.memory
        self._seq += 1
        if self._tracker is not None:
            memory = self._tracker.memory
            taught = TaughtReward(self._now, self._picked.copy(), reaction.reward)
            self._tracker.record_reward(profile.user_id, taught)
        profile.apply_reward(self._seq, self._key, self._now, self._picked, reaction.reward, 1.0, *memory)
        if self._population is not None:
            self._population.update(profile.user_id, profile.policies[self._key].ridge)

    def relearn(self, rewards: Sequence[TaughtReward], memory: Memory) -> None:
        """Sum the user's rewards again under another memory."""
        state = self.profile.policies[self._key]
        state.relearn(rewards, memory)
        if self._population is not None:
            self._population.replace_sums(self.profile.user_id, state.ridge)

    @property
    def now(self) -> float:
        """When the last decision was made, seconds since the epoch."""
        return self._now


class LocalCohort:
    """A policy in this process with all users of a world.

    Args:
        policy: who decides.
        episodes: one for each user.
    """

    def __init__(self, policy: Policy, episodes: Sequence[Episode]) -> None:
        self._policy = policy
        self._population = SimulatedPopulation(policy) if policy.learns_prior else None
        has_blocks = bool(policy.schema.block_count)
        self._tracker = MemoryTracker(has_blocks=has_blocks) if policy.adapts_memory else None
        self.learners = [
            LocalLearner(policy, episode, f"user-{user}", self._population, self._tracker)
            for user, episode in enumerate(episodes)
        ]

    def end_round(self) -> None:
        """Let the users' common prior follow what they taught, and once a day the memory too."""
        if self._population is not None:
            self._population.refresh()
        if self._tracker is not None:
            self._follow_drift(self._tracker)

    def _follow_drift(self, tracker: MemoryTracker) -> None:
        prior = self._policy.prior if self._population is None else self._population.get_shared_prior()
        if tracker.check_day(compute_block_prior(prior), max(learner.now for learner in self.learners)):
            histories = dict(tracker.iter_histories())
            for learner in self.learners:
                learner.relearn(histories.get(learner.profile.user_id, ()), tracker.memory)
