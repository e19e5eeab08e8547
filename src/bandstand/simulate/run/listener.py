"""Who reads what users say next, and what a policy is taught by it: a judge behind its gate, or the truth."""

from collections.abc import Sequence
from typing import Protocol

from bandstand.judge.gate import Gate
from bandstand.judge.training.tier import Tier
from bandstand.judge.verdict import Verdict
from bandstand.simulate.plan import parse_contestant
from bandstand.simulate.run.learner import ChatFeedback, Cohort, Learner, ScoredPick
from bandstand.simulate.run.runner import Players
from bandstand.simulate.world.chat import load_taxonomy
from bandstand.simulate.world.reaction import Reaction
from bandstand.simulate.world.world import Episode


class Listener(Protocol):
    """Makes of a user's next message what a policy is taught."""

    async def read_message(self, episode: Episode, step: int, pick: int) -> ChatFeedback:
        """Read what the user says when this candidate is suggested at this step."""


class TruthListener:
    """Knows what every message means: the label's own reward, and nothing where the label never updates."""

    async def read_message(self, episode: Episode, step: int, pick: int) -> ChatFeedback:
        """Give the true label."""
        label = load_taxonomy().label(episode.get_reaction(step, pick).action)
        return ChatFeedback(label.name, label.reward if label.updates else None)


class JudgeListener:
    """A judge, of whom nothing is known but what it reads, and the gate after it.

    Args:
        judge: reads the turn, under the conversations' taxonomy.
        gate: what its verdicts teach by.
    """

    def __init__(self, judge: Tier, gate: Gate) -> None:
        self._judge = judge
        self._gate = gate

    async def read_message(self, episode: Episode, step: int, pick: int) -> ChatFeedback:
        """Judge the turn, and return what passes the gate."""
        judged = await self._judge.judge(episode.get_turn(step, pick).cut())
        taught = self._gate.apply(judged, self._judge.taxonomy)
        label = judged.label if isinstance(judged, Verdict) else None
        return ChatFeedback(label, taught.reward if taught.should_update else None)


class ChatLearner:
    """A policy with one user who talks: it is taught what its listener makes of them.

    Args:
        learner: the policy.
        episode: the user.
        listener: reads what they say.
    """

    def __init__(self, learner: Learner, episode: Episode, listener: Listener) -> None:
        self._learner = learner
        self._episode = episode
        self._listener = listener

    @property
    def is_persistent(self) -> bool:
        """Whether what the policy was taught outlives this process."""
        return self._learner.is_persistent

    async def decide(self, step: int) -> ScoredPick:
        """Pick one of the candidates of a step."""
        decided = await self._learner.decide(step)
        self._step, self._pick = step, decided.pick
        return decided

    async def learn(self, reaction: Reaction, feedback: ChatFeedback | None = None) -> ChatFeedback:
        """Judge the message, unless it was judged before, and teach the resulting reward."""
        if feedback is None:
            feedback = await self._listener.read_message(self._episode, self._step, self._pick)
        if feedback.reward is not None:
            await self._learner.learn(reaction._replace(reward=feedback.reward))
        return feedback


class ChatCohort:
    """A policy with all users of a world, who talk.

    Args:
        cohort: the policy.
        episodes: one for each user.
        listener: reads what they say.
    """

    def __init__(self, cohort: Cohort, episodes: Sequence[Episode], listener: Listener) -> None:
        self._cohort = cohort
        self.learners = [
            ChatLearner(learner, episode, listener) for learner, episode in zip(cohort.learners, episodes, strict=True)
        ]

    def end_round(self) -> None:
        """Let the users' common prior follow what they taught."""
        self._cohort.end_round()


class ChatPlayers:
    """Policies in this process, for users who talk; those taught by the truth have it as their listener.

    Args:
        players: the policies.
        listener: reads what users say, for all others.
    """

    def __init__(self, players: Players, listener: Listener) -> None:
        self._players = players
        self._listener = listener

    def make_cohort(self, seed: int, policy: str, episodes: Sequence[Episode]) -> Cohort:
        """One contestant for all users of a world."""
        name, knows = parse_contestant(policy)
        return ChatCohort(
            self._players.make_cohort(seed, name, episodes), episodes, TruthListener() if knows else self._listener
        )
