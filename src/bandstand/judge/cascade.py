"""The judge: local tiers if they are sure, an LLM if the arbiter says that asking is worthwhile."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal

import structlog

from bandstand.errors import BandstandError, ConfigurationError
from bandstand.judge.arbiter import ArbiterSettings, IntentCandidate, should_trigger
from bandstand.judge.llm.cache import SingleFlight, VerdictCache, cache_key
from bandstand.judge.llm.llm_judge import LlmTier
from bandstand.judge.local.local_judge import Evidence, Local
from bandstand.judge.local.rules import Rules
from bandstand.judge.local.signal import has_signal, report_no_signal
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.turn import FOLLOWUP_LIMITS, CutTurn, Turn, TurnLimits
from bandstand.judge.verdict import Judged, Unscored, UnscoredReason, Verdict

Mode = Literal["auto", "local", "rules", "llm", "off"]
Progress = Callable[[int, int], None]
"""Called with how many turns are done, and of how many."""

CONCURRENCY: Final = 32

log = structlog.get_logger("bandstand")


class JudgeOffError(BandstandError):
    """This deployment judges nothing."""

    code = "judge-off"


class CascadeJudge:
    """Says how users took answers, under one taxonomy. Of one event loop, as the client of its LLM is.

    auto: the local verdict; where the arbiter finds that rules and text model disagree or are not sure, the LLM's.
    local, rules, llm: that tier alone. off: nothing.
    If the LLM fails, the outcome is its reason, not the local verdict; only if the day's budget is spent do the local
    tiers judge alone.

    Args:
        mode: see above.
        local: rules and text model, or rules alone for a taxonomy that no model was trained for.
        llm: the LLM; without one, auto is local.
        arbiter: when to ask it; the defaults if left out.
        rules: for the mode of that name, if ``local`` is more.
        limits: how much of a turn is judged.
        concurrency: how many turns the LLM may be asked about at once.
        cache: of the LLM's verdicts.

    Raises:
        ConfigurationError: the mode is llm, and no LLM is configured.
    """

    def __init__(
        self,
        mode: Mode,
        local: Local | Rules,
        *,
        llm: LlmTier | None = None,
        arbiter: ArbiterSettings | None = None,
        limits: TurnLimits = FOLLOWUP_LIMITS,
        concurrency: int = CONCURRENCY,
        cache: VerdictCache | None = None,
    ) -> None:
        if mode == "llm" and llm is None:
            raise ConfigurationError("the judge's mode is llm, and no model is named")
        self.mode = mode
        self.taxonomy: Taxonomy = local.taxonomy
        self._local = local.rules if mode == "rules" and isinstance(local, Local) else local
        self._llm = llm if mode in {"auto", "llm"} else None
        self._arbiter = arbiter or ArbiterSettings()
        self._limits = limits
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._cache = VerdictCache() if cache is None else cache
        self._flights = SingleFlight()

    @property
    def name(self) -> str:
        """The mode; a verdict names the tier that gave it."""
        return self.mode

    @property
    def model(self) -> str:
        """What judges: the local tiers, the LLM, or both."""
        parts = [] if self.mode == "llm" else [self._local.model]
        return "+".join(parts if self._llm is None else [*parts, self._llm.model])

    @property
    def has_llm(self) -> bool:
        """Whether an LLM may be asked."""
        return self._llm is not None

    async def judge(self, turn: Turn | CutTurn, *, allow_llm: bool = True) -> Judged:
        """Return how the user took the answer, or why nobody can say.

        Args:
            turn: cut first, unless it is already.
            allow_llm: False leaves it to the local tiers, whatever the mode.

        Raises:
            JudgeOffError: the mode is off.
            TypeError: it is no turn.
        """
        self.require_enabled()
        _require_turn(turn)
        cut = turn.cut(self._limits) if isinstance(turn, Turn) else turn
        if not has_signal(cut):
            return report_no_signal(taxonomy=self.taxonomy.name, tier=self._local.name, model=self._local.model)
        if self._llm is None or not allow_llm:
            return self._local.verdict(cut)
        verdict, worth_asking = self._compute_local_verdict(cut)
        if not worth_asking:
            return verdict
        judged = await self._fetch_llm_verdict(self._llm, cut)
        if isinstance(judged, Unscored) and judged.reason is UnscoredReason.OVER_BUDGET:
            return verdict
        return judged

    async def judge_batch(self, turns: Sequence[Turn | CutTurn], *, progress: Progress | None = None) -> list[Judged]:
        """Judge many turns; one that fails is ``Unscored(internal)`` and does not affect the others.

        Args:
            turns: in any number.
            progress: called after each.

        Returns:
            One verdict a turn, in the turns' order.

        Raises:
            JudgeOffError: the mode is off.
            TypeError: one is no turn; none is judged then.
        """
        self.require_enabled()
        turns = list(turns)
        for turn in turns:
            _require_turn(turn)
        slots = asyncio.Semaphore(self._concurrency)
        done = 0

        async def judge_turn(turn: Turn | CutTurn) -> Judged:
            nonlocal done
            async with slots:
                judged = await self._try_judge(turn)
            done += 1
            if progress:
                progress(done, len(turns))
            return judged

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(judge_turn(turn)) for turn in turns]
        return [task.result() for task in tasks]

    def require_enabled(self) -> None:
        """Make sure that anything is judged here.

        Raises:
            JudgeOffError: the mode is off.
        """
        if self.mode == "off":
            raise JudgeOffError("This deployment judges nothing (JUDGE=off).")

    async def _try_judge(self, turn: Turn | CutTurn) -> Judged:
        try:
            return await self.judge(turn)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one turn, the others have been paid for
            log.error("turn not judged", error=type(error).__name__)  # noqa: TRY400 - a traceback may show the turn
            return Unscored(
                taxonomy=self.taxonomy.name, reason=UnscoredReason.INTERNAL, tier=self.name, model=self.model
            )

    def _compute_local_verdict(self, turn: CutTurn) -> tuple[Verdict, bool]:
        """Return the local verdict, and whether the LLM should be asked."""
        if self.mode == "llm":
            return self._local.verdict(turn), True
        evidence = self._local.evidence(turn) if isinstance(self._local, Local) else _build_evidence(self._local, turn)
        trigger = should_trigger(evidence.rule, evidence.semantic, self._arbiter)
        return evidence.verdict, trigger.triggered

    async def _fetch_llm_verdict(self, llm: LlmTier, turn: CutTurn) -> Judged:
        key = cache_key(llm.model, llm.prompt_hash, llm.taxonomy.hash, turn)
        known = self._cache.get(key)
        if known is not None:
            return known

        async def call_llm() -> Judged:
            async with self._slots:
                judged = await llm.judge(turn)
            if isinstance(judged, Verdict):
                self._cache.put(key, judged)
            return judged

        if not self._cache.size:  # nothing is shared then, not even a call under way
            return await call_llm()
        return await self._flights.run(key, call_llm)


def _require_turn(turn: object) -> None:
    if not isinstance(turn, Turn | CutTurn):
        raise TypeError(f"a turn must be a Turn, not {type(turn).__name__}: Turn(query_t, answer_t, query_t1)")


def _build_evidence(rules: Rules, turn: CutTurn) -> Evidence:
    """The evidence of rules alone, in the arbiter's form: their label, with their precision as its score."""
    verdict = rules.verdict(turn)
    label = rules.taxonomy.label(verdict.label)
    return Evidence(None, (IntentCandidate(label.name, label.name, label.means, verdict.confidence),), verdict)
