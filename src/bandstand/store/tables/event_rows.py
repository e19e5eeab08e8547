"""The rows that events become: users, decisions, rewards, keys, marks; and the statements that insert them."""

from typing import NamedTuple

from bandstand.store.ids import get_nonce
from bandstand.store.records import Decision, Reward, first_seq_at
from bandstand.store.sqlite.packing import pack_body
from bandstand.store.sqlite.statements import Row, build_insert, build_single_insert, number_fields

LEGACY_LINK_SECONDS = 24 * 3600
_MAX_LEGACY_CANDIDATES = 1000
"""A legacy reward is linked among the user's newest thousand decisions: a bound on one insert's work."""


class UserInsert(NamedTuple):
    """A row of ``users``."""

    uid: int | None
    user_id: str


class DecisionInsert(NamedTuple):
    """A row of ``decisions``; see ``schema.sql`` for each column."""

    seq: int
    nonce: str | None
    uid: int
    policy: int
    client: str
    ts: float
    tip_id: str
    pick: int
    exploring: bool
    seed: float
    score: float
    propensity: float
    floor: float
    body: bytes
    numbers: bytes


class OwnIdInsert(NamedTuple):
    """A row of ``decision_ids``: an id that a caller chose."""

    decision_id: str
    seq: int


class EnrolmentInsert(NamedTuple):
    """A row of ``enrolments``."""

    uid: int
    experiment: int
    arm: str


class LineageLookup(NamedTuple):
    """What the generation of a decision's pick is looked up by."""

    decision: int
    uid: int
    tip_id: str


class SubjectInsert(NamedTuple):
    """A row of ``subjects``: whom a decision was made for, if that is not whose model it is."""

    seq: int
    uid: int


class RewardInsert(NamedTuple):
    """A row of ``rewards``; see ``schema.sql`` for each column."""

    seq: int
    uid: int
    policy: int
    decision_seq: int | None
    linked_seq: int | None
    tip_id: str
    value: float
    weight: float
    applied: bool
    reason: str | None
    source: str
    features: bytes | None
    body_hash: bytes
    client: str
    ts: float


class LinkedRewardInsert(NamedTuple):
    """A row of ``rewards`` whose link is looked up as it is inserted.

    A legacy reward is linked to a decision that was made after the time ``since``, and that helps to find it, with a
    number above ``after``. Of a judge's reward that stands in for another, ``after`` is the number of that one, whose
    decision it is linked to. It is the last field, because every statement uses it, whichever others it uses.
    """

    seq: int
    uid: int
    policy: int
    tip_id: str
    value: float
    weight: float
    applied: bool
    reason: str | None
    source: str
    features: bytes | None
    body_hash: bytes
    client: str
    ts: float
    since: float
    after: int


class KeyInsert(NamedTuple):
    """A row of ``idempotency``; ``reward_seq`` is the reward's or the turn's number."""

    scope: str
    key: str
    body_hash: bytes
    reward_seq: int
    ts: float


class MarkInsert(NamedTuple):
    """A row of ``marks``: what an operator, retention or the settings did; ``uid`` is null where it is no user's."""

    seq: int
    uid: int | None
    kind: str
    ts: float
    client: str
    document: str | None


INSERT_USER = build_insert("users", UserInsert, verb="INSERT OR IGNORE")
INSERT_DECISION = build_insert("decisions", DecisionInsert)
INSERT_DECISION_ID = build_insert("decision_ids", OwnIdInsert)
INSERT_ENROLMENT = build_insert("enrolments", EnrolmentInsert, verb="INSERT OR IGNORE")
INSERT_SUBJECT = build_insert("subjects", SubjectInsert)
INSERT_REWARD = build_insert("rewards", RewardInsert)
INSERT_IDEMPOTENCY_KEY = build_insert("idempotency", KeyInsert)
INSERT_MARK = build_insert("marks", MarkInsert)
INSERT_ONE_MARK = build_single_insert("marks", MarkInsert)
"""The same, complete: for what does not go through the writer's groups."""

INSERT_LINEAGE = number_fields(
    """INSERT OR IGNORE INTO lineage (decision, generation, prompt)
    SELECT :decision, generation, prompt FROM generated_tips
    WHERE uid = :uid AND tip_id = :tip_id AND generation < :decision ORDER BY generation DESC LIMIT 1""",
    LineageLookup,
)

_INSERT_LINKED_REWARD = """INSERT INTO rewards (seq, uid, policy, linked_seq, tip_id, value, weight, applied, reason,
    source, features, body_hash, client, ts) VALUES (:seq, :uid, :policy, ({link}), :tip_id, :value, :weight, :applied,
    :reason, :source, :features, :body_hash, :client, :ts)"""
_NEWEST_MATCH = f"""SELECT seq FROM (
        SELECT seq, policy, tip_id FROM decisions WHERE ts > :since AND seq IN (
            SELECT seq FROM user_decisions WHERE uid = :uid AND seq < :seq AND seq > :after
            ORDER BY seq DESC LIMIT {_MAX_LEGACY_CANDIDATES})
    ) AS recent
    WHERE tip_id = :tip_id
      AND policy IN (SELECT id FROM policies WHERE name = (SELECT name FROM policies WHERE id = :policy))
      AND NOT EXISTS (SELECT 1 FROM rewards WHERE decision_seq = recent.seq)
      AND NOT EXISTS (SELECT 1 FROM rewards WHERE linked_seq = recent.seq)
    ORDER BY seq DESC LIMIT 1"""  # noqa: S608 (a constant number)
_SAME_DECISION = "SELECT coalesce(decision_seq, linked_seq) FROM rewards WHERE seq = :after"

INSERT_LEGACY_REWARD = number_fields(_INSERT_LINKED_REWARD.format(link=_NEWEST_MATCH), LinkedRewardInsert)
INSERT_REPLACEMENT_REWARD = number_fields(_INSERT_LINKED_REWARD.format(link=_SAME_DECISION), LinkedRewardInsert)
"""A reward in the place of another, which named its decision or was linked to one: that it is linked to."""


def build_decision_row(decision: Decision, policy_id: int) -> Row:
    """A decision as a row of ``decisions``: the fields of :class:`DecisionInsert`, without the time that names take.

    Flags and bytes are given as numbers and byte arrays, which ``sqlite3`` takes as they are: of a value of another
    class it asks an adapter first.
    """
    numbers = decision.numbers
    return (
        decision.seq,
        None if decision.own_id else get_nonce(decision.decision_id),
        decision.uid,
        policy_id,
        decision.client,
        decision.ts,
        decision.tip_id,
        decision.pick,
        int(decision.exploring),
        decision.seed,
        decision.score,
        decision.propensity,
        decision.floor,
        bytearray(pack_body(decision.body)),
        bytearray() if numbers is None else bytearray(numbers.tobytes()),
    )


def build_reward_row(reward: Reward, uid: int, policy_id: int, linked_seq: int | None = None) -> Row:
    """A reward as a row of ``rewards``, the fields of :class:`RewardInsert`; one without a decision may have a link.

    Flags and bytes as in :func:`build_decision_row`.
    """
    return (
        reward.seq,
        uid,
        policy_id,
        reward.decision_seq,
        linked_seq,
        reward.tip_id,
        reward.value,
        reward.weight,
        int(reward.applied),
        reward.reason,
        reward.source,
        None if reward.features is None else bytearray(reward.features),
        bytearray(reward.body_hash),
        reward.client,
        reward.ts,
    )


def build_replacement_row(reward: Reward, uid: int, policy_id: int, replaced_seq: int) -> LinkedRewardInsert:
    """A reward for ``INSERT_REPLACEMENT_REWARD``: in the place of another, by its number."""
    return _build_linked_row(reward, uid, policy_id, since=0.0, after=replaced_seq)


def build_legacy_row(reward: Reward, uid: int, policy_id: int, since: float) -> LinkedRewardInsert:
    """A reward for ``INSERT_LEGACY_REWARD``: of a decision that was made after a time."""
    return _build_linked_row(reward, uid, policy_id, since=since, after=first_seq_at(since))


def _build_linked_row(reward: Reward, uid: int, policy_id: int, *, since: float, after: int) -> LinkedRewardInsert:
    return LinkedRewardInsert(
        seq=reward.seq,
        uid=uid,
        policy=policy_id,
        tip_id=reward.tip_id,
        value=reward.value,
        weight=reward.weight,
        applied=reward.applied,
        reason=reward.reason,
        source=reward.source,
        features=reward.features,
        body_hash=reward.body_hash,
        client=reward.client,
        ts=reward.ts,
        since=since,
        after=after,
    )
