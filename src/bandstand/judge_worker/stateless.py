"""Opinions: what the judge says about turns, corrections and intents on request; nothing is taught."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from bandstand.errors import BandstandError, OverloadedError
from bandstand.judge.arbiter import Arbitration, IntentCandidate, RuleSignal
from bandstand.judge.correction import TAXONOMY as CORRECTIONS
from bandstand.judge.correction import Correction, build_correction_turn, build_empty_correction, to_correction
from bandstand.judge.deployed import JudgeRegistry
from bandstand.judge.gate import TAU, Gate
from bandstand.judge.gated_verdict import GatedVerdict
from bandstand.judge.llm.intents import IntentArbiter
from bandstand.judge.turn import CutTurn, Turn
from bandstand.judge.verdict import Judged, Unscored, UnscoredReason

MAX_CONCURRENT: Final = 1000
"""Turns with corrections, or intents, under way; more could hardly be answered within the judge's deadline."""

Admission = Callable[[], Awaitable[None]]
"""Waits until the next piece of work may begin."""


class UnscoredError(BandstandError):
    """The judge could not say; a failure is never passed off as a neutral verdict."""

    code = "unscored"


class StatelessJudge:
    """Everything that gives opinions, of one event loop.

    Args:
        judges: by taxonomy.
        gate: what their verdicts would teach.
        intents: between intents.
    """

    def __init__(self, judges: JudgeRegistry, gate: Gate, intents: IntentArbiter) -> None:
        self.judges = judges
        self.gate = gate
        self.intents = intents
        self._running: Counter[str] = Counter()

    @contextmanager
    def reserve_slots(self, kind: Literal["turns", "intents"], pieces: int) -> Iterator[None]:
        """Count a number of pieces of work of one kind as under way.

        Raises:
            OverloadedError: too many are.
        """
        if self._running[kind] + pieces > MAX_CONCURRENT:
            raise OverloadedError("too many opinions are being given; try again shortly")
        self._running[kind] += pieces
        try:
            yield
        finally:
            self._running[kind] -= pieces


@dataclass(frozen=True, slots=True)
class ClassifiedFeedback:
    """A correction, and which tier found it."""

    correction: Correction
    judged: Judged

    def to_response(self) -> dict[str, Any]:
        """What the wire says of it."""
        return self.correction.as_json() | {"tier": self.judged.tier, "model": self.judged.model}


async def judge_turns(
    stateless_judge: StatelessJudge, turns: Sequence[tuple[Turn, str | None]], admit: Admission
) -> list[GatedVerdict]:
    """Judge turns, each under its taxonomy, in their order; nothing is taught.

    Args:
        stateless_judge: whose.
        turns: each with the name of its taxonomy, None for the default one.
        admit: passed before each turn, so that a hundred of them hold up nobody.

    Raises:
        InvalidRequestError: there is no such taxonomy.
        JudgeOffError: this deployment judges nothing.
        OverloadedError: too much is under way.
    """
    judges = [stateless_judge.judges.get_judge(taxonomy) for _, taxonomy in turns]
    for judge in judges:
        judge.require_enabled()
    judging: list[asyncio.Task[list[Judged]]] = []
    with stateless_judge.reserve_slots("turns", len(turns)):
        try:
            for judge, (turn, _) in zip(judges, turns, strict=True):
                await admit()
                judging.append(asyncio.create_task(judge.judge_batch([turn])))
            judged = [one for task in judging for one in await task]
        finally:
            for task in judging:  # whoever asked may have gone
                task.cancel()
            await asyncio.gather(*judging, return_exceptions=True)
    return [
        GatedVerdict(one, stateless_judge.gate.apply(one, judge.taxonomy))
        for one, judge in zip(judged, judges, strict=True)
    ]


async def classify_feedback(
    stateless_judge: StatelessJudge, message: str, previous_reply: str, threshold: float = TAU
) -> ClassifiedFeedback:
    """Say whether a message corrects the reply before it, and how (contract A6).

    Args:
        stateless_judge: whose.
        message: what the user said.
        previous_reply: what they said it to.
        threshold: corrections with less confidence do not count.

    Raises:
        JudgeOffError: this deployment judges nothing.
        UnscoredError: the LLM was worth asking, and failed.
        OverloadedError: too much is under way.
    """
    with stateless_judge.reserve_slots("turns", 1):
        return await classify_message(stateless_judge.judges, message, previous_reply, threshold)


async def classify_message(
    judges: JudgeRegistry, message: str, previous_reply: str, threshold: float
) -> ClassifiedFeedback:
    """Say whether a message corrects the reply before it, and how; see :func:`classify_feedback`."""
    turn: CutTurn = build_correction_turn(message, previous_reply)
    judged = await judges.get_judge(CORRECTIONS.name).judge(turn)
    if isinstance(judged, Unscored) and judged.reason is UnscoredReason.NO_SIGNAL:
        return ClassifiedFeedback(build_empty_correction(), judged)
    if isinstance(judged, Unscored):
        raise UnscoredError(f"The judge could not say: {judged.reason.value}.")
    return ClassifiedFeedback(to_correction(judged, threshold), judged)


def _to_signal(rule: Mapping[str, Any]) -> RuleSignal:
    return RuleSignal(rule["rule_id"], rule["score"], rule.get("name") or "", rule.get("description") or "")


async def arbitrate(stateless_judge: StatelessJudge, request: Mapping[str, Any]) -> Arbitration:
    """Decide which intent a message has (contract A7).

    Args:
        stateless_judge: whose.
        request: a validated one: ``tenant_id``, ``message``, ``rule``, ``semantic`` and ``config``.

    Raises:
        OverloadedError: too much is under way.
    """
    rule = request.get("rule")
    with stateless_judge.reserve_slots("intents", 1):
        return await stateless_judge.intents.arbitrate(
            request["tenant_id"],
            request["message"],
            _to_signal(rule) if rule else None,
            [
                IntentCandidate(entry["id"], entry["name"], entry.get("description", ""), entry["score"])
                for entry in request.get("semantic", ())
            ],
            request.get("config"),
        )
