"""Who reads what users say next, and what a policy is taught by it: a judge behind its gate, or the truth."""

from collections.abc import Sequence
from typing import Protocol

from bandstand.judge.gate import Gate
from bandstand.judge.training.tier import Tier
from bandstand.judge.verdict import Verdict
from bandstand.simulate.plan import taught_by
from bandstand.simulate.run.learner import Cohort, Decided, Heard, Learner
from bandstand.simulate.run.runner import Players
from bandstand.simulate.world.chat import taxonomy
from bandstand.simulate.world.reaction import Reaction
from bandstand.simulate.world.world import Episode


class Listener(Protocol):
    """Makes of a user's next message what a policy is taught."""

    async def hear(self, episode: Episode, step: int, pick: int) -> Heard:
        """Read what the user says when this candidate is suggested at this step."""


class Truth:
    """Knows what every message means: the label's own reward, and nothing where the label never updates."""

    async def hear(self, episode: Episode, step: int, pick: int) -> Heard:
        """Give the true label."""
        label = taxonomy().label(episode.reaction(step, pick).action)
        return Heard(label.name, label.reward if label.updates else None)


class JudgeListener:
    """A judge, of whom nothing is known but what it reads, and the gate after it.

    Args:
        judge: reads the turn, under the conversations' taxonomy.
        gate: what its verdicts teach by.
    """

    def __init__(self, judge: Tier, gate: Gate) -> None:
        self._judge = judge
        self._gate = gate

    async def hear(self, episode: Episode, step: int, pick: int) -> Heard:
        """Have the turn judged, and give what passes the gate."""
        judged = await self._judge.judge(episode.turn(step, pick).cut())
        taught = self._gate.applied(judged, self._judge.taxonomy)
        label = judged.label if isinstance(judged, Verdict) else None
        return Heard(label, taught.reward if taught.should_update else None)


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
    def remembers(self) -> bool:
        """Whether what the policy was taught outlives this process."""
        return self._learner.remembers

    async def decide(self, step: int) -> Decided:
        """Pick one of the candidates of a step."""
        decided = await self._learner.decide(step)
        self._step, self._pick = step, decided.pick
        return decided

    async def learn(self, reaction: Reaction, heard: Heard | None = None) -> Heard:
        """Have the message read, unless it was before, and teach what that comes to."""
        if heard is None:
            heard = await self._listener.hear(self._episode, self._step, self._pick)
        if heard.reward is not None:
            await self._learner.learn(reaction._replace(reward=heard.reward))
        return heard


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

    def round_over(self) -> None:
        """Let the users' common prior follow what they taught."""
        self._cohort.round_over()


class ChatPlayers:
    """Policies in this process, for users who talk; those taught by the truth have it as their listener.

    Args:
        players: the policies.
        listener: reads what users say, for all others.
    """

    def __init__(self, players: Players, listener: Listener) -> None:
        self._players = players
        self._listener = listener

    def cohort(self, seed: int, policy: str, episodes: Sequence[Episode]) -> Cohort:
        """One contestant for all users of a world."""
        name, knows = taught_by(policy)
        return ChatCohort(self._players.cohort(seed, name, episodes), episodes, Truth() if knows else self._listener)
