"""Reactions as rows: kept with what each was taken as, as it was sent."""

from typing import Any

from bandstand.store.postgres.connections import Channel
from bandstand.store.records import Reward, UnreadReward

_ADD_REACTION = """INSERT INTO reactions (seq, uid, action, dwell_ms, ts, name, version, hash)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
_NO_REACTION = (None,) * 6


def to_reaction_columns(reward: Reward | UnreadReward) -> tuple[Any, ...]:
    """What a reward came as, from the action to the table's hash; all of it ``None`` if a number was sent."""
    sent = reward.reaction
    if sent is None:
        return _NO_REACTION
    return sent.action, sent.dwell_ms, sent.ts, sent.table, sent.version, sent.hash


async def add_reaction(channel: Channel, reward: Reward, uid: int) -> None:
    """Keep what a reward or a part came as with it, if it came as a reaction; it must be numbered."""
    if reward.reaction is not None:
        await channel.session.execute(_ADD_REACTION, reward.seq, uid, *to_reaction_columns(reward))
