"""Typed uses of the client for event loops: checked, never run."""

from bandstand_client import AsyncBandstand, AsyncDecision, AsyncDecisionRef, AsyncOutbox, Rewarded, TurnTaken
from bandstand_client.answers import Judgement, Receipt, TurnJudgement, UserStats
from bandstand_client.testing import FakeBandstand
from typing_extensions import assert_type


async def show(url: str) -> str:
    """The same as for threads, awaited."""
    async with AsyncBandstand(url) as client:
        decision = await client.score("ada", ["tea", "coffee"])
        assert_type(decision, AsyncDecision[str])
        assert_type(await decision.reward(0.5), Rewarded)
        assert_type(client.decision("id"), AsyncDecisionRef)
        assert_type(await client.decision("id").turn("a", "b", "c"), TurnTaken)
        assert_type(await client.decision("id").turn("a", "b", "c", wait=True), TurnTaken | Judgement)
        assert_type(await decision.get_receipt(), Receipt)
        assert_type(await client.stats("ada"), UserStats)
        assert_type(await client.judge_all([]), tuple[TurnJudgement, ...])
        async with client.outbox() as outbox:
            assert_type(outbox, AsyncOutbox)
            await outbox.reward(decision, 0.5)
        return decision.pick


def fake() -> None:
    """The fake gives real clients."""
    service = FakeBandstand(pick=lambda user_id, ids: ids[-1])
    assert_type(service.build_async_client(), AsyncBandstand)
    assert_type(service.build_client().score("ada", ["tea"]).pick, str)
    with service.failing("deadline"), service.refusing("overloaded"):
        pass
