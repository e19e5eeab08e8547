"""Reactions: what users did, as it was sent, beside the rewards that a table made of it."""

from typing import NamedTuple

from bandstand.store.records import Reward
from bandstand.store.sqlite.statements import Row, build_insert


class ReactionInsert(NamedTuple):
    """A row of ``reactions``; see ``reactions.sql`` for each column."""

    seq: int
    action: str
    dwell_ms: float | None
    ts: float
    name: str
    version: int
    hash: str


INSERT_REACTION = build_insert("reactions", ReactionInsert)


def add_reaction_row(rows: list[tuple[str, Row]], reward: Reward) -> None:
    """Keep what a reward came as with its rows, if it came as a reaction; the reward must be numbered."""
    sent = reward.reaction
    if sent is not None:
        row = ReactionInsert(reward.seq, sent.action, sent.dwell_ms, sent.ts, sent.table, sent.version, sent.hash)
        rows.append((INSERT_REACTION, row))
