"""The LLM tier: one question about one cut turn, a strict answer, and a reason wherever there is none."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bandstand.errors import BandstandError
from bandstand.judge.llm.parse_reply import BadReplyError, build_verdict_schema, parse_verdict
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.text import wrap_in_fence
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Judged, Unscored, UnscoredReason, Usage, Verdict
from bandstand.llm.gateway import ChatClient, ChatReply, GatewayFault, Message
from bandstand.prompts.library import Prompt

MAX_TOKENS: Final = 2_048
RETRY_MAX_TOKENS: Final = 8_192
"""For the one more try after a reply that ended for want of room."""
DEADLINE_S: Final = 180.0

PROMPT_NAME: Final = "judge"
PARAMETERS: Final[Mapping[str, str]] = {
    "labels": "the labels, one a line, each with what it means",
    "neutral": "the label that says nothing either way",
    "question": "what the user asked, quoted and fenced",
    "answer": "what was answered, quoted and fenced",
    "message": "what the user said next, quoted and fenced",
}
"""Every value that a prompt of the judge may ask for."""

_REASONS: Final[Mapping[str, UnscoredReason]] = {
    "llm-timeout": UnscoredReason.TIMEOUT,
    "llm-circuit-open": UnscoredReason.CIRCUIT_OPEN,
    "llm-over-budget": UnscoredReason.OVER_BUDGET,
    "llm-malformed": UnscoredReason.BAD_JSON,
}
"""By the code of a client's error; any other is told apart by its attributes."""

_TOKENS_PER_MESSAGE: Final = 16

CostFunction = Callable[[int, int], float | None]
"""From tokens read and written to US dollars; None where the model has no price."""


def get_unknown_cost(_prompt_tokens: int, _completion_tokens: int) -> float | None:
    """Return what a model costs that has no price: nobody knows."""
    return None


class LlmTier:
    """Asks a chat model; itself the tier "llm".

    Args:
        client: asks the model; its errors are :class:`GatewayFault`, its retries its own.
        taxonomy: whose labels it may give.
        prompt: what it is asked with; its parameters are of :data:`PARAMETERS`.
        deadline_s: the longest one turn may take, over all tries.
        cost: the model's price.
        clamp: take a confidence beyond [0, 1] for the nearest in it, rather than for a failure.
        clock: monotonic seconds, the client's.
    """

    name: Final = "llm"

    def __init__(
        self,
        client: ChatClient,
        taxonomy: Taxonomy,
        prompt: Prompt,
        *,
        deadline_s: float = DEADLINE_S,
        cost: CostFunction = get_unknown_cost,
        clamp: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.taxonomy = taxonomy
        self._client = client
        self._prompt = prompt
        self._deadline_s = deadline_s
        self._cost = cost
        self._clamp = clamp
        self._clock = clock
        self._schema = build_verdict_schema(taxonomy)

    @property
    def model(self) -> str:
        """The model, as it is asked for."""
        return self._client.model

    @property
    def prompt_hash(self) -> str:
        """The prompt's name and version with the hash of its text."""
        return self._prompt.reference

    def build_messages(self, turn: CutTurn) -> list[Message]:
        """Return what the model is asked about a turn."""
        rendered = self._prompt.render(build_prompt_values(self.taxonomy, turn))
        return [{"role": "system", "content": rendered.system}, {"role": "user", "content": rendered.user}]

    async def judge(self, turn: CutTurn) -> Judged:
        """Return the model's verdict, or why there is none; see :class:`bandstand.judge.training.tier.Tier`."""
        messages = self.build_messages(turn)
        deadline = self._clock() + self._deadline_s
        usage = Usage()
        reply: ChatReply | None = None
        for room in (MAX_TOKENS, RETRY_MAX_TOKENS):
            try:
                reply = await self._client.complete(
                    messages, max_tokens=room, deadline=deadline, temperature=None, schema=self._schema
                )
            except BandstandError as error:
                return self._build_unscored(
                    to_unscored_reason(error), None, self._add_failure_usage(usage, error, messages, room)
                )
            usage = self._add_reply_usage(usage, reply, messages, room)
            if reply.finish_reason != "length":
                return self._build_verdict(reply, usage)
        return self._build_unscored(UnscoredReason.TRUNCATED, reply, usage)

    def _build_verdict(self, reply: ChatReply, usage: Usage) -> Judged:
        if reply.refusal is not None:
            return self._build_unscored(UnscoredReason.REFUSAL, reply, usage)
        try:
            parsed = parse_verdict(reply.text, self.taxonomy, clamp=self._clamp)
        except BadReplyError as error:
            return self._build_unscored(error.reason, reply, usage)
        return Verdict(
            taxonomy=self.taxonomy.name,
            label=parsed.label,
            confidence=parsed.confidence,
            rationale=parsed.rationale,
            tier=self.name,
            model=self.model,
            prompt_hash=self.prompt_hash,
            raw=reply.text,
            usage=usage,
        )

    def _build_unscored(self, reason: UnscoredReason, reply: ChatReply | None, usage: Usage) -> Unscored:
        return Unscored(
            taxonomy=self.taxonomy.name,
            reason=reason,
            tier=self.name,
            model=self.model,
            prompt_hash=self.prompt_hash,
            raw=reply.text if reply else None,
            usage=usage,
        )

    def _add_reply_usage(self, usage: Usage, reply: ChatReply, messages: list[Message], max_tokens: int) -> Usage:
        """Add a reply's tokens; where the gateway does not say, the most that they can be."""
        read = compute_max_tokens(messages) if reply.prompt_tokens is None else reply.prompt_tokens
        written = max_tokens if reply.completion_tokens is None else reply.completion_tokens
        return self._add_usage(usage, read, written)

    def _add_failure_usage(
        self, usage: Usage, error: BandstandError, messages: list[Message], max_tokens: int
    ) -> Usage:
        """Add a call that ended without an answer: nothing where it was not sent, else the most that it can be."""
        if isinstance(error, GatewayFault) and error.sent:
            return self._add_usage(usage, compute_max_tokens(messages), max_tokens)
        return usage

    def _add_usage(self, usage: Usage, read: int, written: int) -> Usage:
        cost = self._cost(read, written)
        return Usage(
            llm_calls=usage.llm_calls + 1,
            prompt_tokens=usage.prompt_tokens + read,
            completion_tokens=usage.completion_tokens + written,
            cost=None if cost is None or usage.cost is None else usage.cost + cost,
        )


def build_prompt_values(taxonomy: Taxonomy, turn: CutTurn) -> dict[str, object]:
    """Return what a prompt of the judge is rendered with: a value for each of :data:`PARAMETERS`."""
    return {
        "labels": "\n".join(f"- {label.name}: {label.means}" for label in taxonomy.labels),
        "neutral": taxonomy.neutral.name,
        "question": wrap_in_fence("question", turn.query_t),
        "answer": wrap_in_fence("answer", turn.answer_t),
        "message": wrap_in_fence("message", turn.query_t1),
    }


def compute_max_tokens(messages: Sequence[Message]) -> int:
    """Return the most tokens that a model can read: no tokenizer makes more than one of a byte."""
    return sum(len(message["content"].encode()) + _TOKENS_PER_MESSAGE for message in messages)


def to_unscored_reason(error: BandstandError) -> UnscoredReason:
    """Return what a client's error means for a turn.

    Raises:
        BandstandError: the error itself, where it is none of a client's.
    """
    known = _REASONS.get(error.code)
    if known is not None:
        return known
    if not isinstance(error, GatewayFault):
        raise error
    return UnscoredReason.UNAVAILABLE if error.retryable or not error.reached else UnscoredReason.REJECTED
