"""The judge for Python programs: settings from the environment, an LLM (``gpt-5-nano`` unless ``JUDGE_MODEL`` is set).

``judge`` and ``judge_batch`` are awaited, ``estimate_reward_llm`` and ``estimate_rewards_batch`` called where no event
loop runs. Verdicts are remembered from call to call, connections and locks are not: they are of one event loop.
``classify_feedback`` is awaited too, and judges as ``JUDGE`` says, so without a key unless a model is named.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from bandstand.config.settings import read_settings
from bandstand.judge.cascade import CascadeJudge, Progress
from bandstand.judge.correction import Correction
from bandstand.judge.gate import TAU, Gate
from bandstand.judge.gated_verdict import GatedVerdict
from bandstand.judge.llm.cache import VerdictCache
from bandstand.judge.turn import Turn
from bandstand.judge_worker.stateless import classify_message
from bandstand.wiring.judges import gate, open_judges

DEFAULT_MODEL: Final = "gpt-5-nano"

_verdicts = VerdictCache()
_shared: dict[asyncio.AbstractEventLoop, "_SharedJudge"] = {}


async def judge(turn: Turn) -> GatedVerdict:
    """Ask the LLM how the user took an answer.

    Raises:
        ConfigurationError: a setting is wrong, or ``OPENAI_API_KEY`` is missing.
    """
    (judgement,) = await judge_batch([turn])
    return judgement


async def judge_batch(turns: Sequence[Turn], *, progress: Progress | None = None) -> list[GatedVerdict]:
    """Ask the LLM about many turns, 32 at once (``JUDGE_MAX_CONCURRENT``).

    Args:
        turns: in any number; one that cannot be judged is ``unscored`` and loses none of the others.
        progress: called with how many are done, and of how many, after each.

    Returns:
        One judgement a turn, in the turns' order.

    Raises:
        ConfigurationError: a setting is wrong, or ``OPENAI_API_KEY`` is missing.
    """
    async with _acquire_judge() as (judges, door):
        judged = await judges.judge_batch(turns, progress=progress)
        return [GatedVerdict(one, door.apply(one, judges.taxonomy)) for one in judged]


async def classify_feedback(message: str, previous_reply: str, *, threshold: float = TAU) -> Correction:
    """Say whether a message corrects the reply before it, and how (contract A6).

    Args:
        message: what the user said.
        previous_reply: what they said it to.
        threshold: corrections that are less sure are none.

    Raises:
        UnscoredError: the LLM was worth asking, and failed.
        JudgeOffError: ``JUDGE`` is off.
        ConfigurationError: a setting is wrong, or the key of ``JUDGE_MODEL`` is missing.
    """
    async with open_judges(read_settings(), cache=_verdicts) as judges:
        return (await classify_message(judges, message, previous_reply, threshold)).correction


def estimate_reward_llm(turn: Turn) -> tuple[float, bool]:
    """Return the reward of a turn, and whether it should teach: (0, False) where it cannot be judged.

    Raises:
        RuntimeError: an event loop is running; there, ``await judge(turn)``.
        ConfigurationError: a setting is wrong, or ``OPENAI_API_KEY`` is missing.
    """
    _require_no_loop("estimate_reward_llm(turn)", "await judge(turn)")
    (estimate,) = estimate_rewards_batch([turn])
    return estimate


def estimate_rewards_batch(turns: Sequence[Turn]) -> list[tuple[float, bool]]:
    """Return (reward, whether it should teach) of many turns, in their order.

    Raises:
        RuntimeError: an event loop is running; there, ``await judge_batch(turns)``.
        ConfigurationError: a setting is wrong, or ``OPENAI_API_KEY`` is missing.
    """
    _require_no_loop("estimate_rewards_batch(turns)", "await judge_batch(turns)")
    return [(judgement.reward, judgement.should_update) for judgement in asyncio.run(judge_batch(turns))]


class _SharedJudge:
    """A judge with its client, for as long as somebody in its event loop uses it."""

    def __init__(self) -> None:
        self.users = 0
        self.stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._opened: tuple[CascadeJudge, Gate] | None = None

    async def ensure_open(self) -> tuple[CascadeJudge, Gate]:
        async with self._opening:
            if self._opened is None:
                settings = read_settings()
                if settings.judge_model is None:
                    settings = settings.model_copy(update={"judge_model": DEFAULT_MODEL})
                judges = await self.stack.enter_async_context(open_judges(settings, mode="llm", cache=_verdicts))
                self._opened = judges.get_judge(), gate(settings)
            return self._opened


@asynccontextmanager
async def _acquire_judge() -> AsyncIterator[tuple[CascadeJudge, Gate]]:
    """Share one client among all who ask at the same time in this event loop; the last one closes it."""
    loop = asyncio.get_running_loop()
    shared = _shared.setdefault(loop, _SharedJudge())
    shared.users += 1
    try:
        yield await shared.ensure_open()
    finally:
        shared.users -= 1
        if not shared.users:
            del _shared[loop]
            await shared.stack.aclose()


def _require_no_loop(called: str, instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{called} cannot wait inside a running event loop; there, `{instead}`")
