"""Intents: which of several a message has, by its scores or, where these do not settle it, by an LLM. Contract A7."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from bandstand.judge.arbiter import (
    ArbiterSettings,
    Arbitration,
    IntentCandidate,
    RuleSignal,
    TriggerReason,
    decided,
    merge_candidates,
    not_triggered,
    should_trigger,
    undecided,
)
from bandstand.judge.llm.llm_judge import to_unscored_reason
from bandstand.judge.llm.parse_reply import build_object_schema, iter_objects, read_number, to_one_line
from bandstand.judge.text import escape_markup, strip_hidden, truncate_middle, wrap_in_fence
from bandstand.judge.verdict import UnscoredReason
from bandstand.llm.chat import ChatClient, ChatReply, ChatRequest, build_messages
from bandstand.llm.errors import BudgetExceededError, ChatError
from bandstand.llm.reply_json import iter_passages
from bandstand.prompts.library import Prompt

MAX_TOKENS: Final = 200
TEMPERATURE: Final = 0.0
CONCURRENCY: Final = 32

PROMPT_VERSION: Final = "arbitrate-v1"
PARAMETERS: Final[Mapping[str, str]] = {
    "candidates": "the intents, each with its id, name, description and score, quoted and fenced",
    "rule": "the intent that a rule found, quoted and fenced; empty where none did",
    "message": "what the user said, quoted and fenced",
}
"""Every value that the prompt may ask for."""

SCHEMA: Final = build_object_schema(
    "choice", {"reasoning": {"type": "string"}, "intent_id": {"type": "string"}, "score": {"type": "number"}}
)

_MAX_CANDIDATES: Final = 20
_MAX_MESSAGE: Final = 2_000
_MAX_NAME: Final = 200
_MAX_DESCRIPTION: Final = 500
_TENANT_SHARE: Final = 4

_FAILURE_REASONS: Final[Mapping[UnscoredReason, str]] = {
    UnscoredReason.TIMEOUT: "the model did not answer in time",
    UnscoredReason.CIRCUIT_OPEN: "the model failed too often just now and was not asked",
    UnscoredReason.OVER_BUDGET: "the day's budget is spent, so the model was not asked",
}


class IntentArbiter:
    """Arbitrates between what a rule and a semantic search say of a message.

    Nothing is remembered from one message to the next, and no tenant may hold more than a quarter of the calls that may
    be under way at once.

    Args:
        client: asks the model; None decides everything by the scores, with the reason "disabled".
        prompt: the prompt; its parameters are among :data:`PARAMETERS`.
        settings: the defaults if left out; a request may override the thresholds.
        concurrency: how many calls may be under way at once.
        clock: monotonic seconds, the client's.
    """

    def __init__(
        self,
        client: ChatClient | None,
        prompt: Prompt,
        *,
        settings: ArbiterSettings | None = None,
        concurrency: int = CONCURRENCY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or ArbiterSettings()
        self._settings = settings if client else replace(settings, llm_judge_enabled=False)
        self._client = client
        self._prompt = prompt
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)
        self._share = max(1, concurrency // _TENANT_SHARE)
        self._tenants: dict[str, _Tenant] = {}

    async def arbitrate(
        self,
        tenant_id: str,
        message: str,
        rule: RuleSignal | None,
        semantic: Sequence[IntentCandidate],
        config: Mapping[str, Any] | None = None,
    ) -> Arbitration:
        """Decide which intent a message has; whatever becomes of the model, there is an answer in time.

        Args:
            tenant_id: whose message it is.
            message: what the user said.
            rule: what the rules say, if anything.
            semantic: the candidates, best first.
            config: thresholds in place of the deployment's.

        Raises:
            InvalidRequestError: ``config`` holds something else than thresholds.
        """
        settings = self._settings.with_overrides(config or {})
        trigger = should_trigger(rule, semantic, settings)
        if not trigger.triggered or self._client is None:
            return not_triggered(rule, semantic, trigger.reason)
        began = self._clock()
        seconds = settings.llm_judge_timeout_ms / 1000
        try:
            async with asyncio.timeout(seconds), self._acquire_slot(tenant_id):
                reply = await self._client.complete(self._build_request(message, rule, semantic, began + seconds))
        except TimeoutError:
            return undecided(trigger.reason, _FAILURE_REASONS[UnscoredReason.TIMEOUT], self._compute_elapsed_ms(began))
        except (ChatError, BudgetExceededError) as error:
            why = _FAILURE_REASONS.get(to_unscored_reason(error), "the model could not be asked")
            return undecided(trigger.reason, why, self._compute_elapsed_ms(began))
        candidates = merge_candidates(rule, semantic)
        return _parse_choice(reply, candidates, trigger.reason, self._compute_elapsed_ms(began))

    def _build_request(
        self, message: str, rule: RuleSignal | None, semantic: Sequence[IntentCandidate], deadline: float
    ) -> ChatRequest:
        rendered = self._prompt.render(build_intent_values(message, rule, semantic))
        return ChatRequest(
            messages=build_messages(rendered.system, rendered.user),
            max_tokens=MAX_TOKENS,
            deadline=deadline,
            temperature=TEMPERATURE,
            schema=SCHEMA,
        )

    def _compute_elapsed_ms(self, began: float) -> float:
        return (self._clock() - began) * 1000

    @asynccontextmanager
    async def _acquire_slot(self, tenant_id: str) -> AsyncIterator[None]:
        tenant = self._tenants.setdefault(tenant_id, _Tenant(self._share))
        tenant.waiting += 1
        try:
            async with tenant.free, self._slots:
                yield
        finally:
            tenant.waiting -= 1
            if not tenant.waiting:
                del self._tenants[tenant_id]


class _Tenant:
    """How many of a tenant's messages are being arbitrated."""

    __slots__ = ("free", "waiting")

    def __init__(self, share: int) -> None:
        self.free = asyncio.Semaphore(share)
        self.waiting = 0


def build_intent_values(
    message: str, rule: RuleSignal | None, semantic: Sequence[IntentCandidate]
) -> dict[str, object]:
    """Return what the prompt is rendered with: a value for each of :data:`PARAMETERS`; the 20 best candidates.

    The rule's intent is one of them, first if the semantic search did not find it.
    """
    candidates = merge_candidates(rule, semantic)
    names = {candidate.id: candidate.name for candidate in candidates}
    found = (
        {"id": rule.rule_id, "name": _truncate_text(names.get(rule.rule_id, ""), _MAX_NAME), "score": rule.score}
        if rule
        else None
    )
    return {
        "candidates": wrap_in_fence(
            "candidates", "\n".join(_format_candidate(candidate) for candidate in candidates[:_MAX_CANDIDATES])
        ),
        "rule": wrap_in_fence("rule", json.dumps(found, ensure_ascii=False)) if found else "",
        "message": wrap_in_fence("message", _truncate_text(message, _MAX_MESSAGE)),
    }


def _format_candidate(candidate: IntentCandidate) -> str:
    shortened = candidate._replace(
        name=_truncate_text(candidate.name, _MAX_NAME),
        description=_truncate_text(candidate.description, _MAX_DESCRIPTION),
    )
    return json.dumps(shortened._asdict(), ensure_ascii=False)


def _truncate_text(text: str, limit: int) -> str:
    return truncate_middle(strip_hidden(text), limit)


def _parse_choice(
    reply: ChatReply, candidates: Sequence[IntentCandidate], reason: TriggerReason, duration_ms: float
) -> Arbitration:
    tokens = (reply.prompt_tokens or 0) + (reply.completion_tokens or 0)
    if reply.refusal is not None:
        return undecided(reason, "the model declined to choose", duration_ms, tokens)
    # In the prompt an id is escaped, and a model may give it back as it stands there.
    ids = {escape_markup(candidate.id): candidate.id for candidate in candidates[:_MAX_CANDIDATES]}
    last = undecided(reason, "the model's reply was not the JSON asked for", duration_ms, tokens)
    for passage in iter_passages(reply.text):
        for found in iter_objects(passage, "intent_id"):
            intent_id, words = found["intent_id"], found.get("reasoning")
            named = str(intent_id) if isinstance(intent_id, int) and not isinstance(intent_id, bool) else intent_id
            outcome = decided(
                candidates,
                ids.get(named, named) if isinstance(named, str) else None,
                read_number(found.get("score")),
                to_one_line(words) if isinstance(words, str) else "",
                reason=reason,
                duration_ms=duration_ms,
                tokens_used=tokens,
            )
            last = outcome if outcome.intent_id is not None or last.intent_id is None else last
        if last.intent_id is not None:
            break
    return last
