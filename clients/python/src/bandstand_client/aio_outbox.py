"""The outbox of a program with an event loop."""

import asyncio
from collections.abc import Mapping
from types import TracebackType

from bandstand_client.decision import Dwell
from bandstand_client.learning import Action
from bandstand_client.outbox import AnyDecision, Outbox, OutboxCounts


class AsyncOutbox:
    """An :class:`Outbox` in a program with an event loop; a thread sends, and writes the file.

    Example:
        >>> decision = await client.score("ada", ["tea", "coffee"])
        >>> async with client.outbox() as outbox:
        ...     await outbox.react(decision, "done", dwell=45)
        >>> (await decision.get_receipt()).reward.reward
        1.0
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def __aenter__(self) -> "AsyncOutbox":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def counts(self) -> OutboxCounts:
        """What became of the rewards so far.

        Example:
            >>> async with client.outbox() as outbox:
            ...     outbox.counts.waiting
            0
        """
        return self._outbox.counts

    async def reward(self, decision: AnyDecision, value: float) -> None:
        """Accept a reward, from -1 to 1.

        Raises:
            OutboxFullError, OutboxClosedError, OutboxError: it was not accepted.

        Example:
            >>> decision = await client.score("ada", ["tea"])
            >>> async with client.outbox() as outbox:
            ...     await outbox.reward(decision, 0.5)
            >>> (await decision.get_receipt()).reward.reward
            0.5
        """
        if self._outbox.keeps_a_file:
            await asyncio.to_thread(self._outbox.reward, decision, value)
        else:
            self._outbox.reward(decision, value)

    async def react(self, decision: AnyDecision, action: Action, *, dwell: Dwell | None = None) -> None:
        """Accept what the user did; ``done`` needs a dwell, in seconds.

        Raises:
            OutboxFullError, OutboxClosedError, OutboxError: it was not accepted.

        Example:
            >>> decision = await client.score("ada", ["tea"])
            >>> async with client.outbox() as outbox:
            ...     await outbox.react(decision, "dismiss")
            >>> (await decision.get_receipt()).reward.reward
            -1.0
        """
        if self._outbox.keeps_a_file:
            await asyncio.to_thread(self._outbox.react, decision, action, dwell=dwell)
        else:
            self._outbox.react(decision, action, dwell=dwell)

    async def measure(self, decision: AnyDecision, metrics: Mapping[str, float], *, value: float | None = None) -> None:
        """Accept what the product measured; ``value`` where no formula of the loop makes a reward of it.

        Raises:
            OutboxFullError, OutboxClosedError, OutboxError: it was not accepted.

        Example:
            >>> decision = await client.score("ada", ["tea"])
            >>> async with client.outbox() as outbox:
            ...     await outbox.measure(decision, {"click": 1}, value=0.25)
            >>> (await decision.get_receipt()).reward.reward
            0.25
        """
        if self._outbox.keeps_a_file:
            await asyncio.to_thread(self._outbox.measure, decision, metrics, value=value)
        else:
            self._outbox.measure(decision, metrics, value=value)

    async def turn(
        self, decision: AnyDecision, query: str, answer: str, next_message: str, *, taxonomy: str | None = None
    ) -> None:
        """Accept a turn, for the judge to read.

        Raises:
            OutboxFullError, OutboxClosedError, OutboxError: it was not accepted.

        Example:
            >>> decision = await client.score("ada", ["tea"])
            >>> async with client.outbox() as outbox:
            ...     await outbox.turn(decision, "What now?", "Drink tea.", "Lovely, thank you!")
            >>> outbox.counts.delivered
            1
        """
        words = (query, answer, next_message)
        if self._outbox.keeps_a_file:
            await asyncio.to_thread(self._outbox.turn, decision, *words, taxonomy=taxonomy)
        else:
            self._outbox.turn(decision, *words, taxonomy=taxonomy)

    async def flush(self, deadline: float | None = None) -> bool:
        """Wait until nothing waits; False if some still does after ``deadline`` seconds.

        Example:
            >>> async with client.outbox() as outbox:
            ...     await outbox.flush(10.0)
            True
        """
        return await asyncio.to_thread(self._outbox.flush, deadline)

    async def aclose(self, deadline: float | None = None) -> None:
        """Flush, and take no more. What a file still holds stays in it; what memory holds is dropped, and counted.

        Example:
            >>> outbox = client.outbox()
            >>> await outbox.aclose()
        """
        await asyncio.to_thread(self._outbox.close, deadline)
