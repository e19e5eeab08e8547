"""What decides a user's reaction to a task: the world's own rule, or a judge, which may fail."""

from typing import NamedTuple, Protocol

from bandstand.simulate.world.reaction import Reaction, make_reaction
from bandstand.simulate.world.world import Episode

RULE = "rule"


class JudgedReaction(NamedTuple):
    """A reaction, and who decided it.

    Attributes:
        reaction: what the user did.
        judge: ``rule``, ``llm`` or ``command``.
        fallback: why the rule had to decide although another judge was asked; None if it did not have to.
    """

    reaction: Reaction
    judge: str
    fallback: str | None = None


class ReactionJudge(Protocol):
    """Decides reactions. A judge that fails does not raise: the rule decides, and the reason is kept."""

    async def react(self, episode: Episode, step: int, pick: int) -> JudgedReaction:
        """Say what the episode's user does when this candidate is picked at this step."""


class RuleJudge:
    """The contract's rule, drawn from the world's own stream."""

    async def react(self, episode: Episode, step: int, pick: int) -> JudgedReaction:
        """Say what the rule says; always the same."""
        return JudgedReaction(episode.get_reaction(step, pick), RULE)


def fall_back_to_rule(episode: Episode, step: int, pick: int, reason: str) -> JudgedReaction:
    """Let the rule decide, because the judge who was asked could not."""
    return JudgedReaction(episode.get_reaction(step, pick), RULE, reason)


def to_judged_reaction(action: str, judge: str, episode: Episode, step: int, pick: int) -> JudgedReaction:
    """Make a reaction of a judge's word; how long it takes comes from the judges' own stream."""
    engaged, draw = episode.engagement[step, pick].item(), episode.judge_draws[step].item()
    return JudgedReaction(make_reaction(action, engaged, dwell_draw=draw), judge)
