"""Revocations: a reward taken back out of the sums and counters, by an event of its own.

What a reward added is known from its row and its decision, so it is subtracted as the event commits: of a policy that
forgets, with the weight that the reward still has. A rebuild passes it over where it stands in the order of events.
If the difference would lack digits, or there is much to subtract, the user's state is read from the ledger again.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from bandstand.bandit.profile import Profile
from bandstand.store.records import Array, PolicyRef, Updates
from bandstand.store.sqlite.statements import Row, build_insert, number_fields
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.updates import build_updates

REVISION = "revision"
"""The cause of what a later part of a reward replaces."""

_PAGE_SIZE = 500
_REVOCABLE = """SELECT r.seq, u.user_id, r.uid, r.policy, r.ts, r.value, r.weight, r.features, d.body, d.pick
    FROM rewards AS r JOIN users AS u ON u.uid = r.uid
    LEFT JOIN decisions AS d ON d.seq = coalesce(r.decision_seq, r.linked_seq)
    WHERE r.seq IN ({seqs}) AND r.applied AND NOT EXISTS (SELECT 1 FROM revocations WHERE reward_seq = r.seq)
      AND r.seq > coalesce((SELECT max(seq) FROM marks WHERE uid = r.uid AND kind IN ('reset', 'import')), 0)
    ORDER BY r.seq"""


class RevocationInsert(NamedTuple):
    """A row of ``revocations``."""

    seq: int
    uid: int
    reward_seq: int
    cause: str
    client: str
    ts: float


class RewardSubtraction(NamedTuple):
    """What is taken out of the hourly counts."""

    hour: int
    policy: int
    value: float


INSERT_REVOCATION = build_insert("revocations", RevocationInsert)
SUBTRACT_REWARD = number_fields(
    """UPDATE rollups SET rewards = rewards - 1, reward_sum = reward_sum - :value
    WHERE hour IN (-1, :hour) AND policy = :policy""",
    RewardSubtraction,
)


@dataclass(frozen=True, slots=True, eq=False)
class RevocableReward:
    """A reward that the sums hold, and what it added to them.

    Attributes:
        seq: its event number.
        uid: the store's key of the user.
        x: features, shape (d,).
        shadow_updates: the policies in the shadow that it taught too.
    """

    seq: int
    user_id: str
    uid: int
    policy: PolicyRef
    policy_id: int
    ts: float
    value: float
    weight: float
    x: Array
    shadow_updates: Updates = ()

    def build_rows(self, seq: int, *, cause: str, client: str, ts: float) -> list[tuple[str, Row]]:
        """The rows to write when event ``seq`` takes it back."""
        return [
            (INSERT_REVOCATION, RevocationInsert(seq, self.uid, self.seq, cause, client, ts)),
            (SUBTRACT_REWARD, RewardSubtraction(int(self.ts // 3600), self.policy_id, self.value)),
        ]

    def apply_revocation(self, seq: int, profile: Profile) -> bool:
        """Fold the event ``seq`` that takes it back; returns whether the sums are still exact."""
        exact = True
        for learner, x in ((self.policy, self.x), *self.shadow_updates):
            exact = profile.apply_revocation(seq, learner.key, self.ts, x, self.value, self.weight) and exact
        return exact


def find_revocable(
    connection: sqlite3.Connection, registry: PolicyRegistry, seqs: Collection[int]
) -> list[RevocableReward]:
    """Those of the rewards ``seqs`` that their users' sums still hold, in order.

    Not among them: what never taught, what was taken back before, what a reset or an import has replaced, and what
    retention has put into a baseline.
    """
    return [
        RevocableReward(seq, user_id, uid, registry.get_ref(policy), policy, ts, value, weight, x, tuple(also))
        for page in _split_pages(sorted(seqs))
        for seq, user_id, uid, policy, ts, value, weight, *raw in connection.execute(
            _REVOCABLE.format(seqs=", ".join("?" * len(page))), page
        )
        for (_, x), *also in [build_updates(registry, registry.get_ref(policy), seq, *raw)]
    ]


def _split_pages(seqs: Sequence[int]) -> Iterator[list[int]]:
    rest = iter(seqs)
    while page := list(islice(rest, _PAGE_SIZE)):
        yield page
