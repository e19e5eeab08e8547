"""The judge as settings have it, and as Python programs call it.

``judge``, ``judge_batch`` and ``classify_feedback`` are awaited, ``estimate_reward_llm`` and ``estimate_rewards_batch``
called where no event loop runs; all five take their settings from the environment, the first two and the last two also
an ``LLMRewardConfig``. An ``LLMRewardClient`` keeps connections open. The others are for whoever has settings.
"""

from bandstand.judge.cascade import CascadeJudge as Judge
from bandstand.judge.gated_verdict import GatedVerdict as Judgement
from bandstand.judge.turn import Turn
from bandstand.wiring.judges import configuration, gate, local_judges, open_judges
from bandstand.wiring.llm_clients import llm_host
from bandstand.wiring.programs import (
    classify_feedback,
    estimate_reward_llm,
    estimate_rewards_batch,
    judge,
    judge_batch,
)
from bandstand.wiring.reward_client import LLMRewardClient, LLMRewardConfig

__all__ = [
    "Judge",
    "Judgement",
    "LLMRewardClient",
    "LLMRewardConfig",
    "Turn",
    "classify_feedback",
    "configuration",
    "estimate_reward_llm",
    "estimate_rewards_batch",
    "gate",
    "judge",
    "judge_batch",
    "llm_host",
    "local_judges",
    "open_judges",
]
