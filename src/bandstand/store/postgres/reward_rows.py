"""Rewards as rows: inserted one by one under the lock of their user, with the totals that they count in."""

from typing import Any

from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.reward_statements import FIND_LINK, INSERT_REWARD
from bandstand.store.records import Reward, first_seq_at


async def find_link(
    channel: Channel, uid: int, after: float, tip_id: str, policy: str
) -> tuple[int | None, float | None]:
    """What a reward in the legacy form is linked to, and when that was decided; under the user's lock."""
    row = await channel.session.fetchrow(FIND_LINK, uid, first_seq_at(after), after, tip_id, policy)
    return (None, None) if row is None else tuple(row)


async def insert_reward(
    channel: Channel,
    reward: Reward,
    *,
    uid: int,
    n: int,
    policy_id: int,
    linked: int | None = None,
    decided: float | None = None,
    picked: bytes | None = None,
) -> dict[str, Any]:
    """Insert a reward under its user's lock; returns what the fold needs of it."""
    shadow_set = await channel.session.fetchval(
        INSERT_REWARD,
        reward.seq,
        uid,
        n,
        policy_id,
        reward.decision_seq,
        linked,
        decided,
        reward.tip_id,
        reward.value,
        reward.weight,
        reward.applied,
        reward.reason,
        reward.source,
        reward.features,
        picked,
        reward.body_hash,
        reward.client,
        reward.ts,
        channel.stripe,
    )
    return {
        "uid": uid,
        "n": n,
        "decision_seq": reward.decision_seq,
        "applied": reward.applied,
        "reason": reward.reason,
        "picked": picked,
        "shadow_set": shadow_set,
    }
