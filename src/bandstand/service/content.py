"""Content kept back: what answers hold for a caller who may not see what users were shown, sent or said.

Contents, raw features and the context, the numbers that are made of them, and what quotes a user's words. Ids, sources,
probabilities, rewards and labels stay: a receipt still says what was picked, how, and what it earned.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bandstand.service.history import DecisionReceipt, UserHistory
from bandstand.service.judgements import JudgementDetail

_QUOTES = {"rationale": "", "raw": None}
"""What of a verdict's document quotes the turn, as it is once that is past its days."""


def withhold_shown(receipt: DecisionReceipt) -> DecisionReceipt:
    """A receipt without contents and features."""
    return replace(
        receipt,
        context={},
        candidates=[
            replace(each, content=None, source_id=None, raw_features={}, features=None, explanation=None)
            for each in receipt.candidates
        ],
        content_withheld=True,
    )


def withhold_features(history: UserHistory) -> UserHistory:
    """A history without the values that decisions were made on."""
    entries = [replace(each, features={}, day_of_week=None) for each in history.history]
    return replace(history, history=entries, content_withheld=True)


def withhold_quotes(detail: JudgementDetail) -> JudgementDetail:
    """A judgement without what quotes its turn."""
    return replace(
        detail,
        verdict=_drop_quotes(detail.verdict),
        history=[replace(each, verdict=_drop_quotes(each.verdict)) for each in detail.history],
        content_withheld=True,
    )


def _drop_quotes(verdict: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if verdict is None else {**verdict, **{name: _QUOTES[name] for name in _QUOTES if name in verdict}}
