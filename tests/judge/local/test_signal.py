import asyncio

import pytest

from bandstand.judge.local.classifier import Classifier
from bandstand.judge.local.rulebook import load_shipped_rules
from bandstand.judge.local.signal import has_signal
from bandstand.judge.turn import Turn
from bandstand.judge.verdict import Unscored, UnscoredReason
from tests.judge.given import FOLLOWUP, TOLD, local

SILENT = ["", " ", "...", "\u200b", "🧶", "🪐🪐", "🏻", "---", "。"]


@pytest.mark.parametrize("message", SILENT)
@pytest.mark.parametrize("about", ["", "hints first"])
def test_a_message_that_says_nothing_has_no_verdict_of_any_local_tier(message: str, about: str) -> None:
    turn = Turn("", TOLD, message, about).cut()
    for tier in (load_shipped_rules(FOLLOWUP), Classifier.shipped("followup-v1"), local()):
        judged = asyncio.run(tier.judge(turn))
        assert isinstance(judged, Unscored)
        assert judged.reason is UnscoredReason.NO_SIGNAL


@pytest.mark.parametrize("message", ["k", "?", "👍", "👎", "0", "好", "🙄", "🧶 ok"])
def test_anything_else_has(message: str) -> None:
    assert has_signal(Turn("", TOLD, message).cut())
