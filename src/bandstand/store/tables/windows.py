"""Windows and parts: decisions whose reward is settled over time, and what was given for each."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bandstand.bandit.aggregation import PartSums
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.errors import DecisionHeldError
from bandstand.store.records import Decision, Reward, RewardPart, RewardWindow
from bandstand.store.sqlite.statements import build_columns, build_insert, number_fields
from bandstand.store.tables.policies import PolicyRegistry

LATE, HELD, RESET, REVOKED, EXPIRED, NOT_FIRST = "late", "held", "reset", "revoked", "expired", "not_first"
"""Why a part does not count, or not yet."""
LOGGING_ONLY = "logging_only"
"""Why a reward teaches nothing that came while its loop learned nothing."""
WINDOW_CLIENT = "window"
"""Who gives the reward of silence."""

_COUNTED = f"(reason IS NULL OR reason IN ('{HELD}', '{NOT_FIRST}'))"


class WindowInsert(NamedTuple):
    """A row of ``windows``; see ``reward_windows.sql`` for each column."""

    decision: int
    held: bool
    due: float | None
    fallback: float | None
    awaits: bool


class PartInsert(NamedTuple):
    """A row of ``reward_parts``; see ``reward_windows.sql`` for each column."""

    seq: int
    decision: int
    policy: int
    tip_id: str
    value: float
    taught: float | None
    reason: str | None
    metrics: str | None
    formula: str | None
    body_hash: bytes
    client: str
    ts: float


class WindowUpdate(NamedTuple):
    """Whether a window is still to be closed at its end."""

    decision: int
    awaits: bool


class PartRelease(NamedTuple):
    """What an activation makes of the parts that came before it."""

    decision: int
    taught: float | None


INSERT_WINDOW = build_insert("windows", WindowInsert)
INSERT_PART = build_insert("reward_parts", PartInsert)
SETTLE_WINDOW = number_fields("UPDATE windows SET awaits = :awaits WHERE decision = :decision", WindowUpdate)
ACTIVATE_WINDOW = number_fields(
    "UPDATE windows SET held = 0, awaits = :awaits WHERE decision = :decision", WindowUpdate
)
RELEASE_PARTS = number_fields(
    f"UPDATE reward_parts SET reason = NULL, taught = :taught WHERE decision = :decision AND reason = '{HELD}'",  # noqa: S608 (constants)
    PartRelease,
)

_WINDOW = "SELECT held, due, fallback FROM windows WHERE decision = ?"
_VALUES = f"SELECT value FROM reward_parts WHERE decision = ? AND {_COUNTED} ORDER BY seq"  # noqa: S608 (constants)
_PART = f"SELECT u.user_id, {build_columns('p', PartInsert)}"
_OF_DECISION = "JOIN decisions AS d ON d.seq = p.decision JOIN users AS u ON u.uid = d.uid"
_FIRST_PART = f"{_PART} FROM reward_parts AS p {_OF_DECISION} WHERE p.decision = ? ORDER BY p.seq LIMIT 1"
_PART_BY_KEY = f"""{_PART} FROM idempotency AS k JOIN reward_parts AS p ON p.seq = k.reward_seq {_OF_DECISION}
    WHERE k.scope = ? AND k.key = ?"""
_METRICS = """SELECT p.name, m.metric, m.tip_id, m.parts, m.total, m.squares
    FROM metric_sums AS m JOIN policies AS p ON p.id = m.policy"""
_HAS_AWAITING = "SELECT EXISTS (SELECT 1 FROM windows WHERE awaits = 1)"


class DueDecision(NamedTuple):
    """A decision whose window has ended, and that nobody has looked at since.

    Attributes:
        is_settled: nothing is to be taught: it was never activated, or it has a reward, or has one linked.
    """

    decision: Decision
    is_settled: bool


class MetricSums(NamedTuple):
    """Sums over the parts that brought a metric m, of one policy and one candidate.

    Attributes:
        parts: how many.
        total: Σ m.
        squares: Σ m².
    """

    policy: str
    metric: str
    tip_id: str
    parts: int
    total: float
    squares: float


@dataclass(frozen=True, slots=True)
class Activation:
    """The result of an activation.

    Attributes:
        activated: the decision counts as shown.
        reason: why it does not, or why it teaches nothing.
        reward: what was kept for it, and is taught now.
    """

    activated: bool
    reason: str | None = None
    reward: Reward | None = None


@dataclass(frozen=True, slots=True)
class ClosedWindows:
    """Some windows that had ended.

    Attributes:
        looked_at: how many.
        taught: the rewards of silence that were taught, in order.
        has_more: whether there may be others.
        rest: times that it took, for which others are to go first where there are.
    """

    looked_at: int = 0
    taught: Sequence[Reward] = ()
    has_more: bool = False
    rest: float = 3.0


def takes_time(reward: Reward, decision: Decision) -> bool:
    """Whether a reward is a part of what its decision is taught, and not all of it."""
    return reward.settings is not None or reward.part is not None or decision.window is not None


def is_final(standing: Reward, settings: RewardSettings | None) -> bool:
    """Whether a decision accepts no further reward: after a judged turn, or if decisions are rewarded once."""
    is_once = settings is None or settings.aggregation == "once"
    return standing.source not in {"client", "default"} or (
        is_once and standing.source == "client" and not is_only_kept(standing)
    )


def is_only_kept(reward: Reward) -> bool:
    """Whether a reward that came for a decision taught nothing, and will not."""
    return reward.part is not None and reward.part.reason in {LATE, RESET}


def require_activated(decision: Decision) -> None:
    """Refuse a turn about what nobody was shown.

    Raises:
        DecisionHeldError: the decision was held back, and not activated.
    """
    if decision.window is not None and decision.window.held:
        raise build_held_error()


def build_held_error() -> DecisionHeldError:
    """The error of a turn about what nobody was shown."""
    return DecisionHeldError("the decision was held back: activate it first")


def is_too_late(decision: Decision, ts: float) -> bool:
    """Whether what comes for a decision at ``ts`` comes after its window."""
    return decision.window is not None and decision.window.has_ended(ts)


def find_reason(decision: Decision, ts: float, *, reset_seq: int, is_revisable: bool) -> str | None:
    """Why a part that comes at ``ts`` does not count, or not yet; ``None`` if it does.

    Args:
        decision: whose part it is, with nothing on its way.
        ts: seconds since the epoch.
        reset_seq: the newest reset of its user.
        is_revisable: what the decision has taught is still in the sums.
    """
    if is_too_late(decision, ts):
        return LATE
    window = decision.window
    if decision.seq <= reset_seq:
        return RESET
    if window is not None and window.held:
        return HELD
    standing = decision.reward
    if standing is None or is_revisable or _is_kept_part(standing):
        return None
    return REVOKED if standing.applied else standing.reason  # by an operator; or nothing tells it from the rest


def _is_kept_part(reward: Reward) -> bool:
    """Whether what stands for a decision is a part that came while its loop learned nothing."""
    return reward.part is not None and reward.part.reason == LOGGING_ONLY


def build_silence(decision: Decision, fallback: float, ts: float, *, reset_seq: int, teaches: bool) -> Reward:
    """What silence teaches of a decision whose window ends at ``ts``; if nothing is taught, it is kept."""
    reason = RESET if decision.seq <= reset_seq else None if teaches else LOGGING_ONLY
    return Reward(
        user_id=decision.user_id,
        policy=decision.policy,
        tip_id=decision.tip_id,
        value=fallback,
        client=WINDOW_CLIENT,
        ts=ts,
        body_hash=b"",
        x=decision.x,
        decision_seq=decision.seq,
        decision_id=decision.decision_id,
        source="default",
        applied=reason is None,
        reason=reason,
    )


def build_kept(decision: Decision, value: float, client: str, ts: float, *, teaches: bool) -> Reward:
    """What an activation at ``ts`` teaches of what was kept for a decision; if nothing is taught, it stays kept."""
    kept = decision.reward
    return Reward(
        user_id=decision.user_id,
        policy=decision.policy,
        tip_id=decision.tip_id,
        value=value,
        client=client if kept is None else kept.client,
        ts=ts,
        body_hash=b"" if kept is None else kept.body_hash,
        x=decision.x,
        decision_seq=decision.seq,
        decision_id=decision.decision_id,
        applied=teaches,
        reason=None if teaches else LOGGING_ONLY,
    )


def take_part(decision: Decision, reward: Reward, reason: str | None) -> bool:
    """Let a part join those of its decision, unless ``reason`` says why not; returns whether something is taught by it.

    The reward's value is set in it; what the decision has taught so far is not touched.
    """
    if reward.reason == LOGGING_ONLY:  # whoever sends it knows what the store does not
        reason = reason or LOGGING_ONLY
    settings, before = reward.settings or CONTRACT, decision.parts
    part, taught = reward.part or RewardPart(reward.value), None
    if reason in {None, HELD}:
        decision.parts = before.add(part.value)
    if reason is None:
        reason = NOT_FIRST if settings.aggregation in {"first", "once"} and before.count else None
        taught = settings.compute_taught(decision.parts)
    reward.part = replace(part, reason=reason, taught=taught)
    reward.value = part.value if taught is None else taught
    reward.applied, reward.reason = reason is None, reason
    return taught is not None


def build_window_row(decision: Decision, window: RewardWindow) -> WindowInsert:
    """The window of a decision as a row."""
    awaits = window.due is not None and window.fallback is not None
    return WindowInsert(decision.seq, window.held, window.due, window.fallback, awaits)


def build_part_row(reward: Reward, decision: Decision, policy_id: int) -> PartInsert:
    """A part of a decision's reward as a row."""
    part = reward.part
    assert part is not None  # noqa: S101 (it was given for a decision with parts)
    return PartInsert(
        reward.seq,
        decision.seq,
        policy_id,
        reward.tip_id,
        part.value,
        part.taught,
        part.reason,
        part.metrics,
        part.formula,
        reward.body_hash,
        reward.client,
        reward.ts,
    )


def complete_decision(connection: sqlite3.Connection, registry: PolicyRegistry, decision: Decision) -> None:
    """Give a decision that was read from the ledger its window, its parts, and what was kept if nothing was taught."""
    row = connection.execute(_WINDOW, (decision.seq,)).fetchone()
    decision.window = None if row is None else RewardWindow(bool(row[0]), *row[1:])
    decision.parts = PartSums.from_values(value for (value,) in connection.execute(_VALUES, (decision.seq,)))
    if decision.reward is None:
        kept = connection.execute(_FIRST_PART, (decision.seq,)).fetchone()
        decision.reward = None if kept is None else _to_reward(kept, registry)


def find_part_by_key(connection: sqlite3.Connection, registry: PolicyRegistry, scope: str, key: str) -> Reward | None:
    """The part of a reward that was given with that Idempotency-Key."""
    row = connection.execute(_PART_BY_KEY, (scope, key)).fetchone()
    return None if row is None else _to_reward(row, registry)


def load_metric_sums(connection: sqlite3.Connection) -> list[MetricSums]:
    """Sums of every metric, by policy and candidate; a policy that was redefined has some for each definition."""
    return [MetricSums(*row) for row in connection.execute(_METRICS)]


def has_awaiting(connection: sqlite3.Connection) -> bool:
    """Whether any window awaits its end."""
    return bool(connection.execute(_HAS_AWAITING).fetchone()[0])


def _to_reward(row: tuple[Any, ...], registry: PolicyRegistry) -> Reward:
    """A part as the reward that it was given as."""
    user_id, *columns = row
    stored = PartInsert(*columns)
    return Reward(
        user_id=user_id,
        policy=registry.get_ref(stored.policy),
        tip_id=stored.tip_id,
        value=stored.value if stored.taught is None else stored.taught,
        client=stored.client,
        ts=stored.ts,
        body_hash=stored.body_hash,
        x=None,
        decision_seq=stored.decision,
        applied=stored.reason is None,
        reason=stored.reason,
        seq=stored.seq,
        part=RewardPart(stored.value, stored.reason, stored.taught, stored.metrics, stored.formula),
    )
