"""A decision in the product's hands: what to show, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from bandstand_client.errors import BandstandError
from bandstand_client.learning import Action, FallbackReason

if TYPE_CHECKING:
    from bandstand_client.answers import Judgement, Receipt
    from bandstand_client.client import Bandstand
    from bandstand_client.learning_answers import RankedCandidate, Rewarded, TurnTaken

C = TypeVar("C")
Dwell = float | timedelta
"""How long a user stayed: seconds, or a ``timedelta``."""


class _Rewarding:
    id: str
    _client: Bandstand

    def reward(self, value: float) -> Rewarded:
        """Tell the service what the pick was worth, from -1 to 1; the same again counts once.

        Raises:
            AlreadyRewardedError: the decision has another reward.
            ProblemError, NoAnswerError: it was not taken, or nobody knows; an outbox sees to that by itself.

        Example:
            >>> client.score("ada", ["tea", "coffee"]).reward(0.5).applied
            True
        """
        return self._client.send_reward(self.id, {"reward": value})

    def react(self, action: Action, *, dwell: Dwell | None = None) -> Rewarded:
        """Tell the service what the user did; the service has a table of what that is worth.

        Args:
            action: ``done`` (which needs a dwell), ``snooze`` or ``dismiss``.
            dwell: how long the user stayed with it, in seconds.

        Example:
            >>> client.score("ada", ["tea", "coffee"]).react("done", dwell=45).reward
            1.0
        """
        return self._client.send_reward(self.id, build_reaction(action, dwell))

    def measure(self, metrics: Mapping[str, float], *, value: float | None = None) -> Rewarded:
        """Tell the service what the product measured; a loop with a formula makes the reward of it.

        Each call is one part of the decision's reward where several count, and a retry of it none.

        Args:
            metrics: numbers by name, up to 50.
            value: the reward itself; needed where no formula makes one, and then the metrics are kept beside it.

        Raises:
            ProblemError, NoAnswerError: it was not taken, or nobody knows; an outbox sees to that by itself.

        Example:
            >>> client.score("ada", ["tea", "coffee"]).measure({"click": 1, "seconds": 12}, value=0.5).reward
            0.5
        """
        return self._client.send_reward(self.id, build_measures(metrics, value))

    @overload
    def turn(
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
    def turn(
        self,
        query: str,
        answer: str,
        next_message: str,
        *,
        about: str | None = None,
        taxonomy: str | None = None,
        wait: bool,
    ) -> TurnTaken | Judgement: ...

    def turn(
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
            >>> taken = client.score("ada", ["tea"]).turn("What now?", "Drink tea.", "That helped, thanks!")
            >>> taken.reason is None
            True
        """
        return self._client.send_turn(self.id, build_turn(query, answer, next_message, about, taxonomy), wait=wait)

    def get_receipt(self) -> Receipt:
        """Everything that the decision was made of, and its reward.

        Example:
            >>> decision = client.score("ada", ["tea"])
            >>> decision.get_receipt().tip_id
            'tea'
        """
        return self._client.receipt(self.id)


@dataclass(frozen=True)
class Decision(_Rewarding, Generic[C]):
    """What to show, and whom to tell what came of it.

    Attributes:
        id: goes through a page and comes back by :meth:`Bandstand.decision`.
        pick: the caller's own candidate.
        propensity: the probability with which it was picked, as logged; None of a fallback, which nobody drew.
        score: what the policy gave it, in units of reward; None of a fallback.
        policy: the policy that picked; None of a fallback.
        exploring: it was picked by the uniform share, not for its score.
        ranking: all candidates, best score first, if it was asked for.
        fallback: why this is the caller's first candidate and no pick; None where it is one. Rewards of a fallback go
            nowhere, and are counted: the log holds only what was drawn. ``unlogged`` is a pick that the service could
            not log (its disk is full).
        error: what went wrong, of a fallback.
        extra: fields of the answer that this client does not know.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
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
    _client: Bandstand = field(repr=False, compare=False)


@dataclass(frozen=True)
class DecisionRef(_Rewarding):
    """A decision by its id alone, which went through a page or a queue.

    Example:
        >>> shown = client.score("ada", ["tea", "coffee"]).id
        >>> client.decision(shown).reward(0.5).applied
        True
    """

    id: str
    _client: Bandstand = field(repr=False, compare=False)


def build_reaction(action: Action, dwell: Dwell | None) -> dict[str, Any]:
    """Build a reaction as the wire has it, in milliseconds."""
    reaction: dict[str, Any] = {"action": action}
    if dwell is not None:
        seconds = dwell.total_seconds() if isinstance(dwell, timedelta) else dwell
        reaction["dwell_ms"] = seconds * 1000
    return {"reaction": reaction}


def build_measures(metrics: Mapping[str, float], value: float | None) -> dict[str, Any]:
    """Build a reward of metrics as the wire has it."""
    body: dict[str, Any] = {"metrics": dict(metrics)}
    return body if value is None else {**body, "reward": value}


def build_turn(query: str, answer: str, next_message: str, about: str | None, taxonomy: str | None) -> dict[str, Any]:
    """Build a turn as the wire has it."""
    turn = {"query_t": query, "answer_t": answer, "query_t1": next_message, "about": about, "taxonomy": taxonomy}
    return {"turn": {name: value for name, value in turn.items() if value is not None}}
