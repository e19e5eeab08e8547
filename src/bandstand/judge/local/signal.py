"""Signal: whether a message says anything, so that silence is never taken for a neutral verdict."""

from bandstand.judge.local.normalise import extract_window
from bandstand.judge.local.ratings import is_known_sign
from bandstand.judge.local.tokens import split_tokens
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Unscored, UnscoredReason


def has_signal(turn: CutTurn) -> bool:
    """Return whether a message says anything: not where it is empty, or nothing but emoji of no known meaning.

    >>> has_signal(CutTurn("", "", " … ")), has_signal(CutTurn("", "", "🧶")), has_signal(CutTurn("", "", "👎"))
    (False, False, True)
    """
    words = split_tokens(extract_window(turn.query_t1))
    return any(word.isalnum() or word == "?" or is_known_sign(word) for word in words)


def report_no_signal(*, taxonomy: str, tier: str, model: str) -> Unscored:
    """Return what a tier says of a message that says nothing."""
    return Unscored(taxonomy=taxonomy, reason=UnscoredReason.NO_SIGNAL, tier=tier, model=model)
