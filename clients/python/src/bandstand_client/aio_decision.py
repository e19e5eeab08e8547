"""A decision in the hands of a product with an event loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from bandstand_client.decision import Dwell, build_measures, build_reaction, build_turn
from bandstand_client.errors import BandstandError
from bandstand_client.learning import Action, FallbackReason

if TYPE_CHECKING:
    from bandstand_client.aio import AsyncBandstand
    from bandstand_client.answers import Judgement, Receipt
    from bandstand_client.learning_answers import RankedCandidate, Rewarded, TurnTaken

C = TypeVar("C")


class _AsyncRewarding:
    id: str
    _client: AsyncBandstand

    async def reward(self, value: float) -> Rewarded:
        """Tell the service what the pick was worth, from -1 to 1; the same again counts once.

        Raises:
            AlreadyRewardedError: the decision has another reward.
            ProblemError, NoAnswerError: it was not taken, or nobody knows; an outbox sees to that by itself.

        Example:
            >>> decision = await client.score("ada", ["tea", "coffee"])
            >>> (await decision.reward(0.5)).applied
            True
        """
        return await self._client.send_reward(self.id, {"reward": value})

    async def react(self, action: Action, *, dwell: Dwell | None = None) -> Rewarded:
        """Tell the service what the user did; the service has a table of what that is worth.

        Args:
            action: ``done`` (which needs a dwell), ``snooze`` or ``dismiss``.
            dwell: how long the user stayed with it, in seconds.

        Example:
            >>> decision = await client.score("ada", ["tea", "coffee"])
            >>> (await decision.react("done", dwell=45)).reward
            1.0
        """
        return await self._client.send_reward(self.id, build_reaction(action, dwell))

    async def measure(self, metrics: Mapping[str, float], *, value: float | None = None) -> Rewarded:
        """Tell the service what the product measured; a loop with a formula makes the reward of it.

        Each call is one part of the decision's reward where several count, and a retry of it none.

        Args:
            metrics: numbers by name, up to 50.
            value: the reward itself; needed where no formula makes one, and then the metrics are kept beside it.

        Raises:
            ProblemError, NoAnswerError: it was not taken, or nobody knows; an outbox sees to that by itself.

        Example:
            >>> decision = await client.score("ada", ["tea", "coffee"])
            >>> (await decision.measure({"click": 1, "seconds": 12}, value=0.5)).reward
            0.5
        """
        return await self._client.send_reward(self.id, build_measures(metrics, value))

    @overload
    async def turn(
        self,
        query: str,
        answer: str,
        next_message: str,
        *,
        about: str | None = None,
        taxonomy: str | None = None,
        wait: Literal[False] = False,
    ) -> TurnTaken: ...

    @overload
    async def turn(
        self,
        query: str,
        answer: str,
        next_message: str,
        *,
        about: str | None = None,
        taxonomy: str | None = None,
        wait: bool,
    ) -> TurnTaken | Judgement: ...

    async def turn(
        self,
        query: str,
        answer: str,
        next_message: str,
        *,
        about: str | None = None,
        taxonomy: str | None = None,
        wait: bool = False,
    ) -> TurnTaken | Judgement:
        """Let the judge read the user's next message as the reward.

        Args:
            query: what the user asked; may be empty.
            answer: what was answered, on which the pick had its part.
            next_message: what the user said next.
            about: what was chosen and what it is meant to do, such as "hints first"; what else it speaks of
                teaches nothing then.
            taxonomy: the labels to judge by; the deployment's own if left out.
            wait: answer with the judgement, if there is one in time.

        Example:
            >>> decision = await client.score("ada", ["tea"])
            >>> taken = await decision.turn("What now?", "Drink tea.", "That helped, thanks!")
            >>> taken.reason is None
            True
        """
        return await self._client.send_turn(
            self.id, build_turn(query, answer, next_message, about, taxonomy), wait=wait
        )

    async def get_receipt(self) -> Receipt:
        """Everything that the decision was made of, and its reward.

        Example:
            >>> decision = await client.score("ada", ["tea"])
            >>> (await decision.get_receipt()).tip_id
            'tea'
        """
        return await self._client.receipt(self.id)


@dataclass(frozen=True)
class AsyncDecision(_AsyncRewarding, Generic[C]):
    """What to show, and whom to tell what came of it, in a program with an event loop; the same as a :class:`Decision`.

    Example:
        >>> decision = await client.score("ada", ["tea", "coffee"])
        >>> decision.pick in {"tea", "coffee"}, decision.fallback
        (True, None)
    """

    id: str
    pick: C
    propensity: float | None
    score: float | None
    policy: str | None
    exploring: bool
    ranking: tuple[RankedCandidate, ...] = field(repr=False)
    fallback: FallbackReason | None
    error: BandstandError | None = field(repr=False, compare=False)
    extra: Mapping[str, Any] = field(repr=False)
    _client: AsyncBandstand = field(repr=False, compare=False)


@dataclass(frozen=True)
class AsyncDecisionRef(_AsyncRewarding):
    """A decision by its id alone, in a program with an event loop.

    Example:
        >>> shown = (await client.score("ada", ["tea", "coffee"])).id
        >>> (await client.decision(shown).reward(0.5)).applied
        True
    """

    id: str
    _client: AsyncBandstand = field(repr=False, compare=False)
