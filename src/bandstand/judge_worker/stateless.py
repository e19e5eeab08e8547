"""Opinions: what the judge says of turns, corrections and intents when it is asked, and nothing is taught."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from bandstand.errors import BandstandError, OverloadedError
from bandstand.judge.arbiter import Arbitration, Candidate, RuleSignal
from bandstand.judge.correction import TAXONOMY as CORRECTIONS
from bandstand.judge.correction import Correction, correction_of, correction_turn
from bandstand.judge.deployed import Judges
from bandstand.judge.gate import TAU, Gate
from bandstand.judge.gated_verdict import Judgement
from bandstand.judge.llm.intents import IntentArbiter
from bandstand.judge.turn import CutTurn, Turn
from bandstand.judge.verdict import Judged, Unscored

MOST_AT_ONCE: Final = 1000
"""Turns with corrections, or intents, under way; more could hardly be answered within the judge's deadline."""

Door = Callable[[], Awaitable[None]]
"""Waits until the next piece of work may begin."""


class UnscoredError(BandstandError):
    """The judge could not say; a failure is never passed off as a neutral verdict."""

    code = "unscored"


class Opinions:
    """Everything that gives opinions, of one event loop.

    Args:
        judges: by taxonomy.
        gate: what their verdicts would teach.
        intents: between intents.
    """

    def __init__(self, judges: Judges, gate: Gate, intents: IntentArbiter) -> None:
        self.judges = judges
        self.gate = gate
        self.intents = intents
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def admitted(self, kind: Literal["turns", "intents"], pieces: int) -> Iterator[None]:
        """Count so many pieces of work of one kind as under way.

        Raises:
            OverloadedError: too many are.
        """
        if self._under_way[kind] + pieces > MOST_AT_ONCE:
            raise OverloadedError("too many opinions are being given; try again shortly")
        self._under_way[kind] += pieces
        try:
            yield
        finally:
            self._under_way[kind] -= pieces


@dataclass(frozen=True, slots=True)
class Classified:
    """A correction, and which tier found it."""

    correction: Correction
    judged: Judged

    def answer(self) -> dict[str, Any]:
        """What the wire says of it."""
        return self.correction.as_json() | {"tier": self.judged.tier, "model": self.judged.model}


async def judge_turns(opinions: Opinions, turns: Sequence[tuple[Turn, str | None]], door: Door) -> list[Judgement]:
    """Judge turns, each under its taxonomy, in their order; nothing is taught.

    Args:
        opinions: whose.
        turns: each with the name of its taxonomy, None for the default one.
        door: passed before each turn, so that a hundred of them hold up nobody.

    Raises:
        InvalidRequestError: there is no such taxonomy.
        JudgeOffError: this deployment judges nothing.
        OverloadedError: too much is under way.
    """
    judges = [opinions.judges.under(taxonomy) for _, taxonomy in turns]
    for judge in judges:
        judge.require_on()
    judging: list[asyncio.Task[list[Judged]]] = []
    with opinions.admitted("turns", len(turns)):
        try:
            for judge, (turn, _) in zip(judges, turns, strict=True):
                await door()
                judging.append(asyncio.create_task(judge.judge_batch([turn])))
            judged = [one for task in judging for one in await task]
        finally:
            for task in judging:  # whoever asked may have gone
                task.cancel()
            await asyncio.gather(*judging, return_exceptions=True)
    return [
        Judgement(one, opinions.gate.applied(one, judge.taxonomy)) for one, judge in zip(judged, judges, strict=True)
    ]


async def classify_feedback(
    opinions: Opinions, message: str, previous_reply: str, threshold: float = TAU
) -> Classified:
    """Say whether a message corrects the reply before it, and how (contract A6).

    Args:
        opinions: whose.
        message: what the user said.
        previous_reply: what they said it to.
        threshold: corrections that are less sure are none.

    Raises:
        JudgeOffError: this deployment judges nothing.
        UnscoredError: the LLM was worth asking, and failed.
        OverloadedError: too much is under way.
    """
    with opinions.admitted("turns", 1):
        return await classified(opinions.judges, message, previous_reply, threshold)


async def classified(judges: Judges, message: str, previous_reply: str, threshold: float) -> Classified:
    """Say whether a message corrects the reply before it, and how; see :func:`classify_feedback`."""
    turn: CutTurn = correction_turn(message, previous_reply)
    judged = await judges.under(CORRECTIONS.name).judge(turn)
    if isinstance(judged, Unscored):
        raise UnscoredError(f"The judge could not say: {judged.reason.value}.")
    return Classified(correction_of(judged, threshold), judged)


async def arbitrate(opinions: Opinions, request: Mapping[str, Any]) -> Arbitration:
    """Decide which intent a message has (contract A7).

    Args:
        opinions: whose.
        request: a validated one: ``tenant_id``, ``message``, ``rule``, ``semantic`` and ``config``.

    Raises:
        OverloadedError: too much is under way.
    """
    rule = request.get("rule")
    with opinions.admitted("intents", 1):
        return await opinions.intents.arbitrate(
            request["tenant_id"],
            request["message"],
            RuleSignal(rule["rule_id"], rule["score"]) if rule else None,
            [
                Candidate(entry["id"], entry["name"], entry.get("description", ""), entry["score"])
                for entry in request.get("semantic", ())
            ],
            request.get("config"),
        )
