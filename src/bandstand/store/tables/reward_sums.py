"""What a reward adds to sums of others: statements that follow its row in the same commit.

Each looks the reward up by its number, for the ledger may know better than memory what it is linked to. If a deployment
has neither prompts nor shadows, there is nothing to add to, and nothing is queried.
"""

from collections.abc import Sequence

from bandstand.store.records import Reward
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables.generations import PromptIds
from bandstand.store.tables.policies import PolicyRegistry

_OF_REWARD = "(SELECT coalesce(decision_seq, linked_seq) FROM rewards WHERE seq = ?1)"
COUNT_PROMPT_REWARD = f"""UPDATE prompt_totals SET rewards = rewards + 1, reward_sum = reward_sum + r.value,
        reward_squares = reward_squares + r.value * r.value
    FROM (SELECT value FROM rewards WHERE seq = ?1) AS r
    WHERE prompt = (SELECT prompt FROM lineage WHERE decision = {_OF_REWARD})"""  # noqa: S608 (constants)
UPDATE_SHADOWS = f"""UPDATE shadows SET reward = (SELECT reward FROM standing WHERE decision = shadows.decision)
    WHERE decision = {_OF_REWARD}
      AND reward IS NOT (SELECT reward FROM standing WHERE decision = shadows.decision)"""  # noqa: S608 (constants)
COUNT_ARRIVAL = """INSERT INTO arrivals (day, policy, source, bucket, rewards, reward_sum)
    SELECT CASE ever WHEN 1 THEN -1 ELSE CAST(coalesce(decided, ts) / 86400.0 AS INTEGER) END, policy, source,
        CASE WHEN decided IS NULL THEN -1
            ELSE (SELECT bucket FROM delays WHERE below > max(0.0, ts - decided) ORDER BY below LIMIT 1) END,
        1, value
    FROM (SELECT 0 AS ever UNION ALL SELECT 1) CROSS JOIN (
        SELECT policy, source, value, ts, coalesce(
            (SELECT ts FROM decisions WHERE seq = coalesce(r.decision_seq, r.linked_seq)),
            (coalesce(r.decision_seq, r.linked_seq) >> 20) / 1000.0) AS decided
        FROM rewards AS r WHERE seq = ?1)
    WHERE true ON CONFLICT DO UPDATE SET rewards = rewards + 1, reward_sum = reward_sum + excluded.reward_sum"""
"""Of a reward whose link is looked up at the insert; others are counted by ``loop_health.build_arrival``."""


def build_sum_rows(reward: Reward, prompts: PromptIds, registry: PolicyRegistry) -> Sequence[tuple[str, Row]]:
    """What follows the row of a reward of any source."""
    if prompts.is_empty and not registry.has_shadow_rows:
        return ()
    rows: list[tuple[str, Row]] = []
    if reward.applied and not prompts.is_empty:
        rows.append((COUNT_PROMPT_REWARD, (reward.seq,)))
    if registry.has_shadow_rows:
        rows.append((UPDATE_SHADOWS, (reward.seq,)))
    return rows
