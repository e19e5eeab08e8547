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

from bandstand.bandit.rewards import compute_reaction_reward
from bandstand.errors import ConfigurationError
from bandstand.simulate.judges.judge import JudgedReaction, ReactionJudge
from bandstand.simulate.run.learner import ChatFeedback, Cohort, Learner, ScoredPick
from bandstand.simulate.world.chat import load_taxonomy
from bandstand.simulate.world.reaction import ACTIONS, Reaction
from bandstand.simulate.world.world import Episode

_DECISIONS_PER_PAUSE = 500  # decisions
_ACTS = (*ACTIONS, *load_taxonomy().label_names)
_ACT_INDEX = {act: index for index, act in enumerate(_ACTS)}
_FEEDBACK_DTYPE = np.dtype([("label", "u1"), ("reward", "<f8")])
_NO_LABEL = 255

PlayKey = tuple[int, int, str]
"""Seed, user, policy: what names a play."""


class PlayedStep(NamedTuple):
    """One step as it is kept: the candidate picked, the user's reaction, and what was taught."""

    pick: int
    judged: JudgedReaction
    feedback: ChatFeedback | None = None


@dataclass(slots=True)
class Play:
    """One user's steps with one policy, as far as they have come.

    Args:
        steps: the steps so far, those from before included.
        start: how many are from before.
        decisions: the decisions since.
    """

    steps: list[PlayedStep] = field(default_factory=list)
    start: int = 0
    decisions: list[ScoredPick] = field(default_factory=list)


class PackedPlay(NamedTuple):
    """A play as the store keeps it, eight bytes a step, and nine more where users talk.

    ``picks`` are uint16, ``actions`` indices into `ACTIONS` and then the labels as uint8, ``dwells`` milliseconds as
    uint32, ``judged`` indices into ``judges`` as uint8; ``judges`` is a JSON list of [judge, fallback]. ``feedback`` is
    empty, or of each step the label's index as uint8 (255: none) and the reward taught as float64 (NaN: none).
    """

    picks: bytes
    actions: bytes
    dwells: bytes
    judged: bytes
    judges: str
    feedback: bytes = b""


async def play_cohort(
    episodes: Sequence[Episode],
    cohort: Cohort,
    judge: ReactionJudge,
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
    pause = max(1, _DECISIONS_PER_PAUSE // len(users))
    for step in range(len(episodes[0].policy_draws)):
        if at_once is None:
            for episode, learner, into in users:
                await _take_step(step, episode, learner, into, judge)
            if step % pause == 0:
                await asyncio.sleep(0)  # nothing here ever waits, and somebody may want to stop it
        else:
            await _gather_all([_take_limited(at_once, step, *user, judge) for user in users])
        cohort.end_round()


async def _take_step(step: int, episode: Episode, learner: Learner, into: Play, judge: ReactionJudge) -> None:
    """Take one user one step further."""
    if step < len(into.steps):
        if not learner.is_persistent:
            past = into.steps[step]
            if (await learner.decide(step)).pick != past.pick:
                raise ConfigurationError("The run cannot be continued: its policies decide otherwise than they did.")
            await learner.learn(past.judged.reaction, past.feedback)
        return
    decided = await learner.decide(step)
    judged = await judge.react(episode, step, decided.pick)
    feedback = await learner.learn(judged.reaction)
    into.decisions.append(decided)
    into.steps.append(PlayedStep(decided.pick, judged, feedback))


async def _take_limited(
    limiter: Semaphore, step: int, episode: Episode, learner: Learner, into: Play, judge: ReactionJudge
) -> None:
    async with limiter:
        await _take_step(step, episode, learner, into, judge)


async def _gather_all(works: Sequence[Coroutine[None, None, None]]) -> None:
    """Run everything at once; the first failure cancels the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def encode_steps(steps: Sequence[PlayedStep]) -> PackedPlay:
    """Pack the steps of a play."""
    judges = {pair: index for index, pair in enumerate(dict.fromkeys(step.judged[1:] for step in steps))}
    return PackedPlay(
        picks=np.array([step.pick for step in steps], "<u2").tobytes(),
        actions=np.array([_ACT_INDEX[step.judged.reaction.action] for step in steps], "u1").tobytes(),
        dwells=np.array([step.judged.reaction.dwell_ms for step in steps], "<u4").tobytes(),
        judged=np.array([judges[step.judged[1:]] for step in steps], "u1").tobytes(),
        judges=json.dumps(list(judges)),
        feedback=np.array(
            [_encode_feedback(step.feedback) for step in steps if step.feedback is not None], _FEEDBACK_DTYPE
        ).tobytes(),
    )


def decode_steps(play: PackedPlay) -> list[PlayedStep]:
    """Unpack the steps of a play; rewards follow from the reactions."""
    judges = json.loads(play.judges)
    feedback = [_decode_feedback(*each) for each in np.frombuffer(play.feedback, _FEEDBACK_DTYPE).tolist()]
    columns = zip(
        np.frombuffer(play.picks, "<u2").tolist(),
        np.frombuffer(play.actions, "u1").tolist(),
        np.frombuffer(play.dwells, "<u4").tolist(),
        np.frombuffer(play.judged, "u1").tolist(),
        feedback or repeat(None, len(play.picks) // 2),
        strict=True,
    )
    steps = []
    for pick, act_index, dwell, judge_index, made_of_it in columns:
        act, (judge, fallback) = _ACTS[act_index], judges[judge_index]
        reward = compute_reaction_reward(act, dwell) if act in ACTIONS else load_taxonomy().label(act).reward
        steps.append(PlayedStep(pick, JudgedReaction(Reaction(act, dwell, reward), judge, fallback), made_of_it))
    return steps


def _encode_feedback(feedback: ChatFeedback) -> tuple[int, float]:
    index = _NO_LABEL if feedback.label is None else load_taxonomy().label_names.index(feedback.label)
    return index, math.nan if feedback.reward is None else feedback.reward


def _decode_feedback(index: int, reward: float) -> ChatFeedback:
    return ChatFeedback(
        None if index == _NO_LABEL else load_taxonomy().label_names[index], None if math.isnan(reward) else reward
    )
