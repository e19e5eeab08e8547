"""Rewards of decisions that another process has made."""

import asyncio

import asyncpg
import pytest

from bandstand.errors import AlreadyRewardedError, InvalidRequestError, UnknownDecisionError
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.ledger import SharedStoreOptions
from bandstand.store.postgres.store import SharedStore
from bandstand.store.records import AcceptedReward, UnreadReward
from tests.service.given import Service
from tests.store.given import CATALOGUE
from tests.store.postgres.shared import run_law_server, wait_for_waiter

_OPTIONS = SharedStoreOptions(settle_seconds=0.0, may_lead=False)


async def test_a_reward_through_another_process_is_answered_as_through_the_one_that_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is logged by one statement, which finds the decision; only what that refuses has its decision read."""
    read: list[str] = []
    taken: list[AcceptedReward | None] = []
    find_decision, reward_unread = SharedStore.find_decision, SharedStore.reward_unread

    async def find(store: SharedStore, decision_id: str) -> object:
        read.append(decision_id)
        return await find_decision(store, decision_id)

    async def take(store: SharedStore, reward: UnreadReward) -> AcceptedReward | None:
        taken.append(await reward_unread(store, reward))
        return taken[-1]

    monkeypatch.setattr(SharedStore, "find_decision", find)
    monkeypatch.setattr(SharedStore, "reward_unread", take)
    with run_law_server() as url:
        one, other = services = [
            Service(lambda clock: SharedStore(LedgerAddress.parse(url), CATALOGUE, options=_OPTIONS, clock=clock))
            for _ in range(2)
        ]
        for service in services:
            await service.deployment.store.open()
            await service.deployment.start()
        other.clock.now += 1.0
        scored, second = await one.score(), await one.score()
        told = await one.reward({"decision_id": scored.decision_id, "reward": 0.5})
        answer = await other.reward({"decision_id": second.decision_id, "reward": 0.5})
        assert (answer.policy, answer.reward, answer.applied, answer.repeated) == (
            *(told.policy, told.reward, told.applied),
            False,
        )
        assert len(taken) == 1
        assert taken[0] is not None
        assert not read
        assert (await other.reward({"decision_id": second.decision_id, "reward": 0.5})).repeated
        assert read, "why nothing was logged, the decision says"
        for refusal, request in (
            (AlreadyRewardedError, {"decision_id": second.decision_id, "reward": -0.5}),
            (UnknownDecisionError, {"decision_id": second.decision_id, "reward": 0.5, "user_id": "ben"}),
            (InvalidRequestError, {"decision_id": second.decision_id, "reward": 0.5, "tip_id": "none"}),
        ):
            with pytest.raises(refusal):
                await other.reward(request)

        # Requests that name no user do not wait for those of others.
        await one.reward({"decision_id": (await one.score()).decision_id, "reward": 0.5})
        held, free = await one.score(user_id="ada"), await one.score(user_id="ben")
        address = LedgerAddress.parse(url)
        session = await asyncpg.connect(address.dsn, server_settings={"search_path": address.schema})
        async with session.transaction():
            await session.execute("SELECT 1 FROM users WHERE user_id = 'ada' FOR UPDATE")
            waiting = asyncio.create_task(other.reward({"decision_id": held.decision_id, "reward": 0.5}))
            await wait_for_waiter(session)
            assert (await other.reward({"decision_id": free.decision_id, "reward": 0.5})).applied
            assert not waiting.done()
        assert (await waiting).applied
        await session.close()
        for service in services:
            await service.deployment.store.close()
