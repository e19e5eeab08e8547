"""Users' runs with one policy: played, packed for storage, and unpacked to be played on."""

import asyncio
import json
import math
from asyncio import Semaphore
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

import numpy as np

from bandstand.bandit.rewards import reaction_reward
from bandstand.errors import ConfigurationError
from bandstand.simulate.judges.judge import Judge, Judged
from bandstand.simulate.run.learner import Cohort, Decided, Heard, Learner
from bandstand.simulate.world.chat import taxonomy
from bandstand.simulate.world.reaction import ACTIONS, Reaction
from bandstand.simulate.world.world import Episode

_UNPAUSED = 500  # decisions
_ACTS = (*ACTIONS, *taxonomy().names)
_ACT_INDEX = {act: index for index, act in enumerate(_ACTS)}
_HEARD = np.dtype([("label", "u1"), ("reward", "<f8")])
_NOBODY = 255

Key = tuple[int, int, str]
"""Seed, user, policy: what names a play."""


class Past(NamedTuple):
    """One step as it is kept: which candidate was picked, what came of it, and what was made of that."""

    pick: int
    judged: Judged
    heard: Heard | None = None


@dataclass(slots=True)
class Play:
    """One user's steps with one policy, as far as they have come.

    Args:
        past: the steps so far, those from before included.
        start: how many are from before.
        decided: the decisions since.
    """

    past: list[Past] = field(default_factory=list)
    start: int = 0
    decided: list[Decided] = field(default_factory=list)


class PackedPlay(NamedTuple):
    """A play as the store keeps it, eight bytes a step, and nine more where users talk.

    ``picks`` are uint16, ``actions`` indices into `ACTIONS` and then the labels as uint8, ``dwells`` milliseconds as
    uint32, ``judged`` indices into ``judges`` as uint8; ``judges`` is a JSON list of [judge, fallback]. ``heard`` is
    empty, or of each step the label's index as uint8 (255: none) and the reward taught as float64 (NaN: none).
    """

    picks: bytes
    actions: bytes
    dwells: bytes
    judged: bytes
    judges: str
    heard: bytes = b""


async def play(
    episodes: Sequence[Episode],
    cohort: Cohort,
    judge: Judge,
    plays: Sequence[Play],
    *,
    at_once: Semaphore | None = None,
) -> None:
    """Let every user of a world meet one policy, step by step in rounds; cancelled, the plays hold what is done.

    Steps from before are taken again with the reactions they had, so that no judge is asked twice; a learner that
    remembers them itself is spared that.

    Args:
        episodes: one for each user, all of one length.
        cohort: the policy they meet.
        judge: who says what they do.
        plays: one for each user; the new steps are added to them.
        at_once: lets so many users of a round be waited for at once; None goes through them in order.

    Raises:
        ConfigurationError: a step from before is decided otherwise now.
    """
    users = list(zip(episodes, cohort.learners, plays, strict=True))
    pause = max(1, _UNPAUSED // len(users))
    for step in range(len(episodes[0].policy_draws)):
        if at_once is None:
            for episode, learner, into in users:
                await _take(step, episode, learner, into, judge)
            if step % pause == 0:
                await asyncio.sleep(0)  # nothing here ever waits, and somebody may want to stop it
        else:
            await _together([_held(at_once, step, *user, judge) for user in users])
        cohort.round_over()


async def _take(step: int, episode: Episode, learner: Learner, into: Play, judge: Judge) -> None:
    """Take one user one step further."""
    if step < len(into.past):
        if not learner.remembers:
            past = into.past[step]
            if (await learner.decide(step)).pick != past.pick:
                raise ConfigurationError("The run cannot be continued: its policies decide otherwise than they did.")
            await learner.learn(past.judged.reaction, past.heard)
        return
    decided = await learner.decide(step)
    judged = await judge.react(episode, step, decided.pick)
    heard = await learner.learn(judged.reaction)
    into.decided.append(decided)
    into.past.append(Past(decided.pick, judged, heard))


async def _held(held: Semaphore, step: int, episode: Episode, learner: Learner, into: Play, judge: Judge) -> None:
    async with held:
        await _take(step, episode, learner, into, judge)


async def _together(works: Sequence[Coroutine[None, None, None]]) -> None:
    """Do everything at once; the first failure ends the rest."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def packed(past: Sequence[Past]) -> PackedPlay:
    """Pack the steps of a play."""
    judges = {pair: index for index, pair in enumerate(dict.fromkeys(step.judged[1:] for step in past))}
    return PackedPlay(
        picks=np.array([step.pick for step in past], "<u2").tobytes(),
        actions=np.array([_ACT_INDEX[step.judged.reaction.action] for step in past], "u1").tobytes(),
        dwells=np.array([step.judged.reaction.dwell_ms for step in past], "<u4").tobytes(),
        judged=np.array([judges[step.judged[1:]] for step in past], "u1").tobytes(),
        judges=json.dumps(list(judges)),
        heard=np.array([_packed_heard(step.heard) for step in past if step.heard is not None], _HEARD).tobytes(),
    )


def unpacked(play: PackedPlay) -> list[Past]:
    """Unpack the steps of a play; rewards follow from the reactions."""
    judges = json.loads(play.judges)
    heard = [_unpacked_heard(*each) for each in np.frombuffer(play.heard, _HEARD).tolist()]
    columns = zip(
        np.frombuffer(play.picks, "<u2").tolist(),
        np.frombuffer(play.actions, "u1").tolist(),
        np.frombuffer(play.dwells, "<u4").tolist(),
        np.frombuffer(play.judged, "u1").tolist(),
        heard or repeat(None, len(play.picks) // 2),
        strict=True,
    )
    steps = []
    for pick, act_index, dwell, judge_index, made_of_it in columns:
        act, (judge, fallback) = _ACTS[act_index], judges[judge_index]
        reward = reaction_reward(act, dwell) if act in ACTIONS else taxonomy().label(act).reward
        steps.append(Past(pick, Judged(Reaction(act, dwell, reward), judge, fallback), made_of_it))
    return steps


def _packed_heard(heard: Heard) -> tuple[int, float]:
    index = _NOBODY if heard.label is None else taxonomy().names.index(heard.label)
    return index, math.nan if heard.reward is None else heard.reward


def _unpacked_heard(index: int, reward: float) -> Heard:
    return Heard(None if index == _NOBODY else taxonomy().names[index], None if math.isnan(reward) else reward)
