"""The judge for Python programs: settings from the environment, an LLM (``gpt-5-nano`` unless ``JUDGE_MODEL`` is set).

``judge`` and ``judge_batch`` are awaited, ``estimate_reward_llm`` and ``estimate_rewards_batch`` called where no event
loop runs. Verdicts are remembered from call to call, connections and locks are not: they are of one event loop. Each
takes a ``config`` in place of the settings; calls with an equal one share a client.
``classify_feedback`` is awaited too, and judges as ``JUDGE`` says, so without a key unless a model is named.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from bandstand.config.settings import read_settings
from bandstand.judge.cascade import Progress
from bandstand.judge.correction import Correction
from bandstand.judge.gate import TAU
from bandstand.judge.gated_verdict import GatedVerdict
from bandstand.judge.llm.cache import VerdictCache
from bandstand.judge.turn import Turn
from bandstand.judge_worker.stateless import classify_message
from bandstand.wiring.judges import open_judges
from bandstand.wiring.reward_client import LLMRewardClient, LLMRewardConfig, require_no_loop

_MAX_CLIENTS: Final = 16

_verdicts = VerdictCache()
_clients: OrderedDict[LLMRewardConfig, LLMRewardClient] = OrderedDict()


async def judge(turn: Turn, config: LLMRewardConfig | None = None) -> GatedVerdict:
    """Ask the LLM how the user took an answer.

    Raises:
        TypeError: it is no turn.
        ConfigurationError: a setting is wrong, or ``OPENAI_API_KEY`` is missing.
    """
    return await _get_client(config).judge(turn)


async def judge_batch(
    turns: Sequence[Turn], config: LLMRewardConfig | None = None, *, progress: Progress | None = None
) -> list[GatedVerdict]:
    """Ask the LLM about many turns, 32 at once (``JUDGE_MAX_CONCURRENT``).

    Args:
        turns: in any number; one that cannot be judged is ``unscored`` and loses none of the others.
        config: how the LLM is asked; the settings, if left out.
        progress: called with how many are done, and of how many, after each.

    Returns:
        One judgement a turn, in the turns' order.

    Raises:
        TypeError: one is no turn.
        ConfigurationError: a setting is wrong, or ``OPENAI_API_KEY`` is missing.
    """
    return await _get_client(config).judge_batch(turns, progress=progress)


async def classify_feedback(message: str, previous_reply: str, *, threshold: float = TAU) -> Correction:
    """Say whether a message corrects the reply before it, and how (contract A6).

    Args:
        message: what the user said.
        previous_reply: what they said it to.
        threshold: corrections with less confidence do not count.

    Raises:
        TypeError: a text is no string.
        UnscoredError: the LLM was worth asking, and failed.
        JudgeOffError: ``JUDGE`` is off.
        ConfigurationError: a setting is wrong, or the key of ``JUDGE_MODEL`` is missing.
    """
    for name, text in (("message", message), ("previous_reply", previous_reply)):
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a str, not {type(text).__name__}")
    async with open_judges(read_settings(), cache=_verdicts) as judges:
        return (await classify_message(judges, message, previous_reply, threshold)).correction


def estimate_reward_llm(turn: Turn, config: LLMRewardConfig | None = None) -> tuple[float, bool]:
    """Return the reward of a turn, and whether it should teach: (0, False) where it cannot be judged.

    Raises:
        TypeError: it is no turn.
        RuntimeError: an event loop is running; there, ``await judge(turn)``.
        ConfigurationError: a setting is wrong, or ``OPENAI_API_KEY`` is missing.
    """
    require_no_loop("estimate_reward_llm(turn)", "await judge(turn)")
    return _get_client(config).estimate_reward(turn)


def estimate_rewards_batch(turns: Sequence[Turn], config: LLMRewardConfig | None = None) -> list[tuple[float, bool]]:
    """Return (reward, whether it should teach) of many turns, in their order.

    Raises:
        TypeError: one is no turn.
        RuntimeError: an event loop is running; there, ``await judge_batch(turns)``.
        ConfigurationError: a setting is wrong, or ``OPENAI_API_KEY`` is missing.
    """
    require_no_loop("estimate_rewards_batch(turns)", "await judge_batch(turns)")
    return _get_client(config).estimate_rewards_batch(turns)


def _get_client(config: LLMRewardConfig | None) -> LLMRewardClient:
    """Return the client of a config; those used longest ago are forgotten with their verdicts."""
    if config is not None and not isinstance(config, LLMRewardConfig):
        raise TypeError(f"config must be an LLMRewardConfig, not {type(config).__name__}")
    key = config or LLMRewardConfig()
    client = _clients.get(key)
    if client is None:
        client = _clients[key] = LLMRewardClient(key, cache=_verdicts if config is None else None)
    _clients.move_to_end(key)
    while len(_clients) > _MAX_CLIENTS:
        _clients.popitem(last=False)
    return client
