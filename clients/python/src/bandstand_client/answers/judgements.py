"""What became of turns.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class JudgementEntry(Answer):
    """A turn taken as a reward, and how it stands.

    Attributes:
        decision_id: null in the legacy form, and once retention has taken the decision.
        client: name of the API key that sent the turn.
        taught: whether it teaches the policy.
        reason: why it is unscored, or why it does not teach.

    Example:
        >>> turn = ("What now?", "Drink tea.", "Lovely, thank you!")
        >>> judged = client.score("ada", ["tea"]).turn(*turn, wait=True)
        >>> client.judgements(limit=1).judgements[0].tip_id
        'tea'
    """

    judgement_id: str
    user_id: str
    decision_id: str | None = None
    tip_id: str
    policy: str
    taxonomy: str
    client: str
    ts: str
    status: Literal["waiting", "scored", "unscored"]
    taught: bool
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class JudgementStep(Answer):
    """What was made of the turn at one time.

    Attributes:
        verdict: as it was given; what quotes the turn goes with its words.
        applied: by which map, threshold and calibration.
        reward: what it taught; null for nothing.

    Example:
        >>> turn = ("What now?", "Drink tea.", "Lovely, thank you!")
        >>> judged = client.score("ada", ["tea"]).turn(*turn, wait=True)
        >>> client.judgement(judged.judgement_id).history[0].cause
        'judge'
    """

    cause: Literal["judge", "override", "reapply"]
    client: str
    ts: str
    verdict: Mapping[str, Any] | None = None
    applied: Mapping[str, Any] | None = None
    state: Literal["taught", "withheld", "unscored"]
    reason: str | None = None
    reward: float | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement(Answer):
    """A judgement with its verdict, and everything that was made of it.

    Attributes:
        decision_id: null in the legacy form, and once retention has taken the decision.
        client: name of the API key that sent the turn.
        taught: whether it teaches the policy.
        reason: why it is unscored, or why it does not teach.
        verdict: the one that stands.
        history: oldest first; the first is the judge's own.
        content_withheld: what quotes the turn is left out: this key may not see it.

    Example:
        >>> turn = ("What now?", "Drink tea.", "Lovely, thank you!")
        >>> judged = client.score("ada", ["tea"]).turn(*turn, wait=True)
        >>> client.judgement(judged.judgement_id).status
        'scored'
    """

    judgement_id: str
    user_id: str
    decision_id: str | None = None
    tip_id: str
    policy: str
    taxonomy: str
    client: str
    ts: str
    status: Literal["waiting", "scored", "unscored"]
    taught: bool
    reason: str | None = None
    verdict: Mapping[str, Any] | None = None
    applied: Mapping[str, Any] | None = None
    reward: float | None = None
    history: tuple[JudgementStep, ...]
    content_withheld: bool


@dataclass(frozen=True, kw_only=True)
class JudgementPage(Answer):
    """Judgements, newest first.

    Attributes:
        next: the `before` of the next page; null on the last.

    Example:
        >>> len(client.judgements(limit=1).judgements) <= 1
        True
    """

    judgements: tuple[JudgementEntry, ...]
    next: int | None = None


@dataclass(frozen=True, kw_only=True)
class RetriedJudgements(Answer):
    """How many turns wait again.

    Attributes:
        left: their decisions have other rewards, or are gone.

    Example:
        >>> client.retry_judgements(reason="timeout").left
        0
    """

    ok: bool
    retried: int
    left: int


@dataclass(frozen=True, kw_only=True)
class ReappliedJudgements(Answer):
    """How many verdicts teach something else now.

    Attributes:
        out_of_reach: what they taught cannot be told from the rest any more.

    Example:
        >>> client.reapply_judgements("2999-01-01T00:00:00+00:00").changed
        0
    """

    ok: bool
    looked_at: int
    changed: int
    out_of_reach: int
