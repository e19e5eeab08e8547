"""Judgements: list them, correct one, judge a turn again, or apply a new gate to old verdicts."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import structlog

from bandstand.definition import describe_unknown
from bandstand.errors import (
    AlreadyRewardedError,
    FieldError,
    InvalidRequestError,
    UnknownDecisionError,
)
from bandstand.judge.gate import GATE_REASONS
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.verdict import Verdict, parse_judged
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.service.context import format_time
from bandstand.store.tables.judgements import (
    Cause,
    Conclusion,
    JudgedTurn,
    JudgementExpiredError,
    JudgementState,
    RewardPendingError,
    TurnTotals,
)

STATUSES: Mapping[str, tuple[JudgementState, ...]] = {
    "waiting": ("waiting",),
    "scored": ("taught", "withheld"),
    "taught": ("taught",),
    "withheld": ("withheld",),
    "unscored": ("unscored",),
}
"""What a list may be asked for, and which states those are."""

JudgementStatus = Literal["waiting", "scored", "unscored"]

STATUS_OF_STATE: Mapping[JudgementState, JudgementStatus] = {
    "waiting": "waiting",
    "taught": "scored",
    "withheld": "scored",
    "unscored": "unscored",
}
_REWARD_TOLERANCE = 1e-12

log = structlog.get_logger("bandstand")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementSummary:
    """A turn taken as a reward, and what became of it.

    Attributes:
        decision_id: ``None`` in the legacy form, and once retention has taken the decision.
        client: name of the API key that sent the turn.
        taught: whether it teaches the policy.
        reason: why it is unscored, or why it does not teach.
    """

    judgement_id: str
    user_id: str
    decision_id: str | None
    tip_id: str
    policy: str
    taxonomy: str
    client: str
    ts: str
    status: JudgementStatus
    taught: bool
    reason: str | None

    @classmethod
    def from_turn(cls, judgement: JudgedTurn, **details: Any) -> Self:
        """What the ledger's row says, with the ``details`` that a subclass adds."""
        return cls(
            judgement_id=judgement.judgement_id,
            user_id=judgement.user_id,
            decision_id=judgement.decision_id,
            tip_id=judgement.tip_id,
            policy=judgement.policy.name,
            taxonomy=judgement.taxonomy,
            client=judgement.client,
            ts=format_time(judgement.ts),
            status=STATUS_OF_STATE[judgement.state],
            taught=judgement.state == "taught",
            reason=judgement.reason,
            **details,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementEvent:
    """What was made of a turn at one time.

    Attributes:
        verdict: the verdict's document as it was given.
        applied: the document of the rewards, threshold and calibration that were applied to it.
        reward: what it taught; ``None`` for nothing.
    """

    cause: Cause
    client: str
    ts: str
    verdict: Mapping[str, Any] | None
    applied: Mapping[str, Any] | None
    state: JudgementState
    reason: str | None
    reward: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementDetail(JudgementSummary):
    """A judgement with its current verdict, what the gate applied to it, and its whole history.

    Attributes:
        content_withheld: what quotes the turn is left out, for the caller may not see it.
    """

    verdict: Mapping[str, Any] | None
    applied: Mapping[str, Any] | None
    reward: float | None
    history: Sequence[JudgementEvent]
    content_withheld: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementList:
    """A page of judgements, newest first; ``next`` is the ``before`` of the next page."""

    judgements: Sequence[JudgementSummary]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryResult:
    """How many turns wait again, and how many cannot because their decisions have other rewards or are gone."""

    ok: Literal[True] = True
    retried: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapplyResult:
    """How many verdicts the gate was applied to, how many teach something else now, and how many cannot."""

    ok: Literal[True] = True
    looked_at: int
    changed: int
    out_of_reach: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCoverage:
    """What became of the turns of one policy's decisions; withheld and unscored ones by reason."""

    turns: int
    waiting: int
    scored: int
    taught: int
    withheld: Mapping[str, int]
    unscored: Mapping[str, int]

    @classmethod
    def from_totals(cls, totals: Sequence[TurnTotals]) -> Self:
        """Counts by state and reason, added up."""
        by_state = {
            state: {each.reason: each.turns for each in totals if each.state == state}
            for state in get_args(JudgementState)
        }
        counts = {state: sum(by_reason.values()) for state, by_reason in by_state.items()}
        return cls(
            turns=sum(counts.values()),
            waiting=counts["waiting"],
            scored=sum(counts[state] for state in STATUSES["scored"]),
            taught=counts["taught"],
            withheld=by_state["withheld"],
            unscored=by_state["unscored"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySpending:
    """What the judge's LLM cost in this UTC day, and how often there was no budget since the start."""

    tokens: int
    usd: float
    over_budget: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageReport:
    """What became of all turns, and of those of each policy."""

    waiting: int
    today: DaySpending
    policies: Mapping[str, PolicyCoverage]


async def load_detail(worker: JudgeWorker, judgement: JudgedTurn) -> JudgementDetail:
    """Everything that is kept of a judgement."""
    detail = await worker.store.load_detail(judgement)
    conclusions = detail["conclusions"]
    current = detail["verdicts"].get(judgement.verdict_seq)
    newest = conclusions[-1] if conclusions else None
    return JudgementDetail.from_turn(
        judgement,
        verdict=None if current is None else current[2],
        applied=newest and newest["applied"],
        reward=newest and newest["reward"],
        history=[
            JudgementEvent(
                cause=each["cause"],
                client=each["client"],
                ts=format_time(each["ts"]),
                verdict=detail["verdicts"][each["verdict"]][2] if each["verdict"] else None,
                applied=each["applied"],
                state=each["state"],
                reason=each["reason"],
                reward=each["reward"],
            )
            for each in conclusions
        ],
    )


async def list_page(worker: JudgeWorker, status: str | None, before: int, limit: int) -> JudgementList:
    """Judgements, newest first, of one status or of all."""
    states = STATUSES[status] if status is not None else ("waiting", "taught", "withheld", "unscored")
    found = await worker.store.list_judgements(states, before, limit)
    summaries = [JudgementSummary.from_turn(each) for each in found.judgements]
    return JudgementList(judgements=summaries, next=found.next)


async def override(
    worker: JudgeWorker, judgement_id: str, label: str, client: str, *, author: str | None = None
) -> JudgementDetail:
    """Put a person's verdict in the place of the judge's: what that taught is taken back, what this teaches is taught.

    Args:
        worker: of the judgement.
        judgement_id: which.
        label: what the person says.
        client: name of the API key.
        author: who the verdict is by; the key, where nothing else is known.

    Raises:
        UnknownJudgementError: there is no such judgement.
        InvalidRequestError: its taxonomy has no such label.
        RewardPendingError: it is still being judged, or its decision is held by another turn.
        AlreadyRewardedError: its decision has got another reward meanwhile.
        JudgementExpiredError: what it taught cannot be taken back any more.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing was changed.
    """
    found = await worker.store.get_judgement(judgement_id)
    async with worker.conclusions.get_lock(found.seq):
        judgement = await worker.store.get_judgement(judgement_id)
        if judgement.state == "waiting":
            raise RewardPendingError("this judgement is still being made")
        taxonomy = worker.options.taxonomies.get(judgement.taxonomy)
        if taxonomy is None:
            raise JudgementExpiredError("its taxonomy is not configured any more")
        if label not in taxonomy.label_names:
            fault = FieldError("label", describe_unknown(label, taxonomy.label_names))
            raise InvalidRequestError(f"{fault.field}: {fault.message}", [fault])
        verdict = Verdict(
            taxonomy=taxonomy.name, label=label, confidence=1.0, rationale="", tier="person", model=author or client
        )
        conclusion = worker.conclusions.build_conclusion(verdict, taxonomy, cause="override", client=client)
        await worker.conclusions.apply_conclusion(judgement, conclusion, capped=False)
    log.info("judgement overridden", judgement=judgement_id, label=label, client=client)
    return await load_detail(worker, await worker.store.get_judgement(judgement_id))


async def retry(
    worker: JudgeWorker,
    client: str,
    *,
    judgement_ids: list[str] | None = None,
    since: float = 0.0,
    reason: str | None = None,
) -> RetryResult:
    """Put unscored turns back into the judge's queue: those named, or all since a time, of one reason or of any.

    Raises:
        UnknownJudgementError: one that was named is not there.
        OverloadedError, StorageFullError, StorageUnavailableError: not all were.
    """
    ids = judgement_ids
    if ids is None:
        ids = await worker.store.list_judgement_ids(STATUSES["unscored"], since, reason)
    retried = 0
    for judgement_id in ids:
        found = await worker.store.get_judgement(judgement_id)
        async with worker.conclusions.get_lock(found.seq):
            judgement = await worker.store.get_judgement(judgement_id)
            try:
                if await worker.store.retry_judgement(judgement):
                    worker.enqueue(judgement)
                    retried += 1
            except (AlreadyRewardedError, RewardPendingError, UnknownDecisionError):
                continue  # its decision has found another reward, or retention has taken it
    log.info("judgements retried", retried=retried, left=len(ids) - retried, client=client)
    return RetryResult(retried=retried, left=len(ids) - retried)


async def reapply_gate(worker: JudgeWorker, client: str, *, since: float) -> ReapplyResult:
    """Apply the present gate to the verdicts of turns taken since a time, without calling a judge.

    If the result differs from what was taught, that is taken back and the new reward is taught. Turns
    that a reset, a cap or retention kept from teaching stay so.

    Raises:
        OverloadedError, StorageFullError, StorageUnavailableError: not all were done; call it again for the rest.
    """
    ids = await worker.store.list_judgement_ids(STATUSES["scored"], since)
    changed = out_of_reach = 0
    for judgement_id in ids:
        found = await worker.store.get_judgement(judgement_id)
        async with worker.conclusions.get_lock(found.seq):
            try:
                changed += await _apply_gate(worker, await worker.store.get_judgement(judgement_id), client)
            except (AlreadyRewardedError, RewardPendingError, JudgementExpiredError):
                out_of_reach += 1
    log.info("judgements reapplied", changed=changed, out_of_reach=out_of_reach, of=len(ids), client=client)
    return ReapplyResult(looked_at=len(ids), changed=changed, out_of_reach=out_of_reach)


async def _apply_gate(worker: JudgeWorker, judgement: JudgedTurn, client: str) -> bool:
    """Apply the gate to one verdict again; returns whether that changed what is taught."""
    taxonomy = worker.options.taxonomies.get(judgement.taxonomy)
    document = await worker.store.find_verdict(judgement)
    before = await worker.store.find_last_applied(judgement)
    kept = judgement.state == "withheld" and judgement.reason not in GATE_REASONS
    if taxonomy is None or document is None or before is None or kept:
        return False
    conclusion = _build_reapplied_conclusion(worker, document, taxonomy, client)
    taught = before["reward"] if before["should_update"] else None
    if _is_same_reward(taught, conclusion.teach) and judgement.reason == (conclusion.reason or None):
        return False
    return await worker.conclusions.apply_conclusion(judgement, conclusion, capped=False) is not None


def _build_reapplied_conclusion(
    worker: JudgeWorker, document: Mapping[str, Any], taxonomy: Taxonomy, client: str
) -> Conclusion:
    conclusion = worker.conclusions.build_conclusion(parse_judged(document), taxonomy, cause="reapply", client=client)
    return Conclusion(
        cause="reapply",
        client=client,
        applied=conclusion.applied,
        teach=conclusion.teach,
        state=conclusion.state,
        reason=conclusion.reason,
    )


def _is_same_reward(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, abs_tol=_REWARD_TOLERANCE)


async def load_coverage(worker: JudgeWorker) -> CoverageReport:
    """Count by policy how many turns were scored, how many taught, and why the others did not."""
    policies: dict[str, list[TurnTotals]] = defaultdict(list)
    for total in await worker.store.load_turn_totals():
        policies[total.policy].append(total)
    status = worker.get_status()
    return CoverageReport(
        waiting=status.waiting,
        today=DaySpending(tokens=status.tokens, usd=status.usd, over_budget=status.over_budget),
        policies={name: PolicyCoverage.from_totals(totals) for name, totals in sorted(policies.items())},
    )
