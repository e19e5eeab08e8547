"""One user's run with one policy: played, packed for storage, and unpacked to be played on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bandstand.bandit.errors import ConfigurationError
from bandstand.bandit.rewards import reaction_reward
from bandstand.simulate.judge import Judge, Judged
from bandstand.simulate.learner import Decided, Learner
from bandstand.simulate.reaction import ACTIONS, Reaction
from bandstand.simulate.world import Episode

_ACTION_INDEX = {action: index for index, action in enumerate(ACTIONS)}


class Past(NamedTuple):
    """One step as it is kept: which candidate was picked, and what came of it."""

    pick: int
    judged: Judged


class Step(NamedTuple):
    """One step as it was played."""

    decided: Decided
    judged: Judged


@dataclass(slots=True)
class Play:
    """The steps of one user with one policy, as far as they have come."""

    steps: list[Step] = field(default_factory=list)

    def past(self) -> list[Past]:
        """The steps as they are kept."""
        return [Past(decided.pick, judged) for decided, judged in self.steps]


class PackedPlay(NamedTuple):
    """A play as the store keeps it, eight bytes a step.

    ``picks`` are uint16, ``actions`` indices into `ACTIONS` as uint8, ``dwells`` milliseconds as uint32, ``judged``
    indices into ``judges`` as uint8; ``judges`` is a JSON list of [judge, fallback].
    """

    picks: bytes
    actions: bytes
    dwells: bytes
    judged: bytes
    judges: str


async def play(episode: Episode, learner: Learner, judge: Judge, into: Play, past: Sequence[Past] = ()) -> None:
    """Play an episode from its beginning, step by step into ``into``; cancelled, ``into`` holds what is done.

    Args:
        episode: the user's run.
        learner: the policy they meet, which knows nothing of them.
        judge: who says what they do.
        into: an empty play.
        past: steps that were played before: they are played again with the reactions they had, so that no judge is
            asked twice.

    Raises:
        ConfigurationError: a step of the past is picked otherwise now.
    """
    for step in range(len(episode.policy_draws)):
        decided = await learner.decide(step)
        if step < len(past):
            judged = past[step].judged
            if decided.pick != past[step].pick:
                raise ConfigurationError("The run cannot be continued: its policies decide otherwise than they did.")
        else:
            judged = await judge.react(episode, step, decided.pick)
        await learner.learn(judged.reaction)
        into.steps.append(Step(decided, judged))


def packed(past: Sequence[Past]) -> PackedPlay:
    """Pack the steps of a play."""
    judges = {pair: index for index, pair in enumerate(dict.fromkeys(judged[1:] for _, judged in past))}
    return PackedPlay(
        picks=np.array([pick for pick, _ in past], "<u2").tobytes(),
        actions=np.array([_ACTION_INDEX[judged.reaction.action] for _, judged in past], "u1").tobytes(),
        dwells=np.array([judged.reaction.dwell_ms for _, judged in past], "<u4").tobytes(),
        judged=np.array([judges[judged[1:]] for _, judged in past], "u1").tobytes(),
        judges=json.dumps(list(judges)),
    )


def unpacked(play: PackedPlay) -> list[Past]:
    """Unpack the steps of a play; rewards follow from the reactions."""
    judges = json.loads(play.judges)
    columns = zip(
        np.frombuffer(play.picks, "<u2").tolist(),
        np.frombuffer(play.actions, "u1").tolist(),
        np.frombuffer(play.dwells, "<u4").tolist(),
        np.frombuffer(play.judged, "u1").tolist(),
        strict=True,
    )
    steps = []
    for pick, action_index, dwell, judge_index in columns:
        action, (judge, fallback) = ACTIONS[action_index], judges[judge_index]
        reaction = Reaction(action, dwell, reaction_reward(action, dwell))
        steps.append(Past(pick, Judged(reaction, judge, fallback)))
    return steps
