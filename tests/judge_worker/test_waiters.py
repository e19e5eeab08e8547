"""Waiters: woken once the turn is told of, and kept no longer than they wait."""

import asyncio

from bandstand.judge_worker.waiters import VerdictWaiters


async def test_all_who_wait_for_a_turn_are_told_and_nobody_else() -> None:
    waiters = VerdictWaiters()
    with waiters.add_waiter(1) as first, waiters.add_waiter(1) as second, waiters.add_waiter(2) as other:
        waiters.notify(1)
        assert (first.done(), second.done(), other.done()) == (True, True, False)
        assert len(waiters) == 1
    assert len(waiters) == 0


async def test_who_waits_no_longer_is_not_kept() -> None:
    waiters = VerdictWaiters()
    with waiters.add_waiter(1):
        for _ in range(3):
            with waiters.add_waiter(1) as impatient:
                await asyncio.wait([impatient], timeout=0)
        assert len(waiters) == 1, "the one who still waits"
        waiters.notify(1)
        with waiters.add_waiter(1) as later:
            assert len(waiters) == 1, "somebody tries the turn again"
            waiters.notify(1)
            assert later.result() is None
    assert len(waiters) == 0
    waiters.notify(1)


async def test_closing_lets_everybody_go() -> None:
    waiters = VerdictWaiters()
    with waiters.add_waiter(1) as one:
        waiters.close()
        assert one.cancelled()
    assert len(waiters) == 0
