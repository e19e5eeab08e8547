"""The erasure of somebody who is one of many that taught a model: what they taught it is taken back, and their rows go.

All of it is in the transaction of their erasure, under the lock of the model's user. That user's version moves, and
with it ``parted_version``: no state from before is believed, in any process. The state without them is written beside.
"""

from collections import Counter
from typing import Any, Final, NamedTuple

from bandstand.bandit.profile import Profile
from bandstand.store.learners.documents import render
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.folding import fold_events
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.part_statements import build_metric_counts
from bandstand.store.postgres.profiles import NEWER_EVENTS, WRITE_CHECKPOINT, is_missing
from bandstand.store.postgres.revocation_log import take_back
from bandstand.store.postgres.schema import build_striped_upsert

_MADE_FOR = "SELECT seq FROM subjects WHERE uid = $1"
_OWNERS = f"""SELECT uid FROM decisions WHERE seq IN ({_MADE_FOR})
    UNION SELECT uid FROM rewards WHERE decision_seq IN ({_MADE_FOR})"""  # noqa: S608 (constants)
_LOCK_OWNERS = f"""SELECT uid, user_id FROM users WHERE uid IN ({_OWNERS})
    ORDER BY uid FOR NO KEY UPDATE"""  # noqa: S608 (constants)
OWNERS: Final = f"SELECT user_id FROM users WHERE uid IN ({_OWNERS}) ORDER BY uid"  # noqa: S608 (constants)
"""Whose models somebody has taught."""
_OF_DECISIONS = "decision_seq = ANY ($1::bigint[]) OR linked_seq = ANY ($1::bigint[]) AND features IS NULL"
_REWARDS = f"SELECT seq FROM rewards WHERE {_OF_DECISIONS}"  # noqa: S608 (constants)
_VERSION = "SELECT version FROM users WHERE uid = $1"
_NOTE_PARTING = "UPDATE users SET version = $2, parted_version = $2 WHERE uid = $1"
_UNCOUNT_PULLS = """INSERT INTO pulls (uid, policy, pulls, explores, last)
    SELECT d.uid, d.policy, -count(*), -count(*) FILTER (WHERE d.exploring), 0
    FROM decisions AS d JOIN users AS u ON u.uid = d.uid AND d.version >= u.reset_version
    WHERE d.seq = ANY ($1::bigint[]) GROUP BY 1, 2
    ON CONFLICT (uid, policy) DO UPDATE SET pulls = pulls.pulls + excluded.pulls,
        explores = pulls.explores + excluded.explores"""
_DELETE_CLAIMS = "DELETE FROM claims WHERE uid = $1 AND decision_seq = ANY ($2::bigint[])"
_DELETE_CHECKPOINT = "DELETE FROM checkpoints WHERE uid = $1"
_UNCOUNT_METRICS = build_metric_counts("(SELECT * FROM reward_parts WHERE decision = ANY ($1::bigint[]))", "-1", "$2")
_UNCOUNT_WAITING = build_striped_upsert(
    "judgement_totals",
    """SELECT policy, state, coalesce(reason, ''), $2::smallint, -count(*) FROM judgements
        WHERE decision_seq = ANY ($1::bigint[]) AND state = 'waiting' GROUP BY 1, 2, 3""",
)


_OF_PARTS = "SELECT seq FROM reward_parts WHERE decision = ANY ($1::bigint[])"
_OF_TURNS = "SELECT seq FROM judgements WHERE decision_seq = ANY ($1::bigint[])"
_GIVEN = f"{_REWARDS} UNION ALL {_OF_PARTS}"
_DELETES: Final = (
    ("idempotency", f"reward_seq IN ({_GIVEN} UNION ALL {_OF_TURNS})"),
    ("reactions", f"seq IN ({_GIVEN})"),
    ("turns", f"judgement IN ({_OF_TURNS})"),
    ("verdicts", f"judgement IN ({_OF_TURNS})"),
    ("conclusions", f"judgement IN ({_OF_TURNS})"),
    ("judgements", "decision_seq = ANY ($1::bigint[])"),
    ("revocations", f"reward_seq IN ({_REWARDS})"),
    ("reward_parts", "decision = ANY ($1::bigint[])"),
    ("windows", "decision = ANY ($1::bigint[])"),
    ("rewards", _OF_DECISIONS),
    ("shadows", "decision = ANY ($1::bigint[])"),
    ("lineage", "decision = ANY ($1::bigint[])"),
    ("decision_ids", "seq = ANY ($1::bigint[])"),
    ("decisions", "seq = ANY ($1::bigint[])"),
)
"""What hangs on decisions, in an order in which each is found."""


class _Owner(NamedTuple):
    uid: int
    user_id: str


async def part_from_models(ledger: SharedLedger, channel: Channel, uid: int, ts: float) -> Counter[str]:
    """Take somebody out of every model that is not their own; returns how many rows went, by table.

    Args:
        ledger: whose users in memory save folding.
        channel: in the transaction of the erasure, under the lock of the user.
        uid: theirs.
        ts: seconds since the epoch.
    """
    session, counts = channel.session, Counter[str]()
    for owner in [_Owner(*row) for row in await session.fetch(_LOCK_OWNERS, uid)]:
        decisions = [row["seq"] for row in await session.fetch(_MADE_FOR, uid)]
        taught = [row["seq"] for row in await session.fetch(_REWARDS, decisions)]
        if taught:
            seqs = [ledger.next_seq(ts) for _ in taught]
            await take_back(channel, taught, seqs, cause="erasure", client="erasure", ts=ts)
        profile = await _fold(ledger, channel, owner)
        for statement in (_UNCOUNT_METRICS, _UNCOUNT_WAITING):
            await session.execute(statement, decisions, channel.stripe)
        await session.execute(_UNCOUNT_PULLS, decisions)
        for table, condition in _DELETES:
            tag: str = await session.execute(f"DELETE FROM {table} WHERE {condition}", decisions)  # noqa: S608 (constants)
            counts[table] += int(tag.rsplit(maxsplit=1)[-1])
        await session.execute(_DELETE_CLAIMS, owner.uid, decisions)
        n = await session.fetchval(_VERSION, owner.uid) + 1
        await session.execute(_NOTE_PARTING, owner.uid, n)
        await session.execute(_DELETE_CHECKPOINT, owner.uid)
        if profile is not None:
            profile.seq = n
            await session.execute(WRITE_CHECKPOINT, owner.uid, n, render(profile))
    return counts


async def _fold(ledger: SharedLedger, channel: Channel, owner: _Owner) -> Profile | None:
    """A model's state as of now; ``None`` if it has to be folded from the beginning."""
    user = ledger.users.get(owner.user_id)
    if user is None or user.uid != owner.uid:
        return None
    profile = user.profile.copy()
    events: list[Any] = await channel.session.fetch(NEWER_EVENTS, owner.uid, profile.seq)
    await ledger.prepare_events(events)
    if is_missing(profile, events) or not fold_events(ledger.registry, profile, events):
        return None
    for key, state in list(profile.policies.items()):
        if not state.reward_count:
            del profile.policies[key]
        state.pulls = state.explores = 0  # whoever reads it counts the decisions that are left
        state.last_updated = None
    return profile
