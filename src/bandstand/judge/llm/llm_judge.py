"""The LLM tier: one question about one cut turn, and a strict answer or a reason for having none."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from bandstand.errors import BandstandError
from bandstand.judge.llm.parse_reply import BadReplyError, build_verdict_schema, find_label_probability, parse_verdict
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.text import wrap_in_fence
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import TARGET_MEANINGS, Judged, Unscored, UnscoredReason, Usage, Verdict
from bandstand.llm.chat import ChatClient, ChatReply, ChatRequest, TokenUsage, build_messages
from bandstand.llm.errors import ChatError
from bandstand.prompts.library import Prompt

MAX_TOKENS: Final = 2_048
RETRY_FACTOR: Final = 4
"""For the one more try after a reply that ended for want of room."""
DEADLINE_S: Final = 180.0

PROMPT_NAME: Final = "judge"
PARAMETERS: Final[Mapping[str, str]] = {
    "labels": "the labels, one a line, each with what it means",
    "neutral": "the label that says nothing either way",
    "targets": "what a message may speak of, one a line, each with what it means",
    "about": "what was chosen and what it is meant to do, quoted and fenced; empty where nobody says",
    "question": "what the user asked, quoted and fenced",
    "answer": "what was answered, quoted and fenced",
    "message": "what the user said next, quoted and fenced",
}
"""Every value that a prompt of the judge may ask for."""

_REASONS: Final[Mapping[str, UnscoredReason]] = {
    "llm-timeout": UnscoredReason.TIMEOUT,
    "llm-circuit-open": UnscoredReason.CIRCUIT_OPEN,
    "llm-over-budget": UnscoredReason.OVER_BUDGET,
    "llm-malformed": UnscoredReason.UNAVAILABLE,
}
"""By the code of a client's error; any other is told apart by its attributes."""

CostFunction = Callable[[int, int], float | None]
"""From tokens read and written to US dollars; None if the model has no price."""


def get_unknown_cost(_prompt_tokens: int, _completion_tokens: int) -> float | None:
    """Return what a model costs that has no price: nobody knows."""
    return None


class LlmTier:
    """Asks a chat model; itself the tier "llm".

    Args:
        client: asks the model; its retries are its own.
        taxonomy: whose labels it may give.
        prompt: the prompt; its parameters are among :data:`PARAMETERS`.
        deadline_s: the longest one turn may take, over all tries.
        cost: the model's price.
        clamp: take a confidence beyond [0, 1] for the nearest in it, rather than for a failure.
        max_tokens: the most that a verdict may take; a reply that is cut off is requested again with four times as
            many.
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
        max_tokens: int = MAX_TOKENS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.taxonomy = taxonomy
        self._client = client
        self._prompt = prompt
        self._deadline_s = deadline_s
        self._cost = cost
        self._clamp = clamp
        self._max_tokens = max_tokens
        self._clock = clock
        # A prompt that does not speak of targets is asked for none, and its verdicts teach whatever they speak of.
        self._with_target = _has_targets(prompt)

    @property
    def model(self) -> str:
        """The name of the requested model."""
        return self._client.model

    @property
    def prompt_hash(self) -> str:
        """The prompt's name and version with the hash of its text."""
        return self._prompt.reference

    async def judge(self, turn: CutTurn) -> Judged:
        """Return the model's verdict, or the reason for having none.

        See :class:`bandstand.judge.training.tier.Tier`.
        """
        usage = Usage()
        reply: ChatReply | None = None
        deadline = self._clock() + self._deadline_s
        for request in build_requests(
            self._prompt, self.taxonomy, turn, deadline=deadline, max_tokens=self._max_tokens
        ):
            bound = request.compute_token_bound()
            try:
                reply = await self._client.complete(request)
            except BandstandError as error:
                if isinstance(error, ChatError) and error.sent:  # nobody knows what it cost: the most that it can
                    usage = self._add_call(usage, bound)
                return self._build_unscored(to_unscored_reason(error), None, usage)
            usage = self._add_call(usage, reply.compute_usage(bound))
            if reply.finish_reason != "length":
                return self._build_verdict(turn, reply, usage)
        return self._build_unscored(UnscoredReason.TRUNCATED, reply, usage)

    def _build_verdict(self, turn: CutTurn, reply: ChatReply, usage: Usage) -> Judged:
        if reply.refusal is not None:
            return self._build_unscored(UnscoredReason.REFUSAL, reply, usage)
        try:
            parsed = parse_verdict(reply.text, self.taxonomy, clamp=self._clamp, with_target=self._with_target)
        except BadReplyError as error:
            return self._build_unscored(error.reason, reply, usage)
        probability = find_label_probability(reply.text, parsed.label, reply.token_probabilities)
        return Verdict(
            taxonomy=self.taxonomy.name,
            label=parsed.label,
            confidence=parsed.confidence if probability is None else probability,
            rationale=parsed.rationale,
            tier=self.name,
            model=self.model,
            prompt_hash=self.prompt_hash,
            target=parsed.target,
            about=bool(turn.about),
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

    def _add_call(self, usage: Usage, tokens: TokenUsage) -> Usage:
        cost = self._cost(tokens.prompt_tokens, tokens.completion_tokens)
        return Usage(
            llm_calls=usage.llm_calls + 1,
            prompt_tokens=usage.prompt_tokens + tokens.prompt_tokens,
            completion_tokens=usage.completion_tokens + tokens.completion_tokens,
            cost=None if cost is None or usage.cost is None else usage.cost + cost,
        )


def build_prompt_values(taxonomy: Taxonomy, turn: CutTurn) -> dict[str, object]:
    """Return what a prompt of the judge is rendered with: a value for each of :data:`PARAMETERS`."""
    return {
        "labels": "\n".join(f"- {label.name}: {label.means}" for label in taxonomy.labels),
        "neutral": taxonomy.neutral.name,
        "targets": "\n".join(f"- {target}: {meaning}" for target, meaning in TARGET_MEANINGS.items()),
        "about": wrap_in_fence("about", turn.about) if turn.about else "",
        "question": wrap_in_fence("question", turn.query_t),
        "answer": wrap_in_fence("answer", turn.answer_t),
        "message": wrap_in_fence("message", turn.query_t1),
    }


def build_requests(
    prompt: Prompt, taxonomy: Taxonomy, turn: CutTurn, *, deadline: float, max_tokens: int = MAX_TOKENS
) -> list[ChatRequest]:
    """Return the request about a turn, and the one to send if its reply is cut off."""
    rendered = prompt.render(build_prompt_values(taxonomy, turn))
    messages = build_messages(rendered.system, rendered.user)
    schema = build_verdict_schema(taxonomy, with_target=_has_targets(prompt))
    return [
        ChatRequest(messages=messages, max_tokens=most, deadline=deadline, schema=schema)
        for most in (max_tokens, RETRY_FACTOR * max_tokens)
    ]


def _has_targets(prompt: Prompt) -> bool:
    return "targets" in prompt.parameters


def compute_turn_bound(
    prompt: Prompt, taxonomy: Taxonomy, turn: CutTurn, *, tries: int, max_tokens: int = MAX_TOKENS
) -> TokenUsage:
    """Return the most tokens that a turn can cost: every request of it, each as often as its client tries."""
    requests = build_requests(prompt, taxonomy, turn, deadline=0.0, max_tokens=max_tokens)
    bounds = (each.compute_token_bound() for each in requests)
    return sum(bounds, TokenUsage()) * tries


def to_unscored_reason(error: BandstandError) -> UnscoredReason:
    """Return what a client's error means for a turn.

    Raises:
        BandstandError: the error itself, if it is not a client's.
    """
    known = _REASONS.get(error.code)
    if known is not None:
        return known
    if not isinstance(error, ChatError):
        raise error
    return UnscoredReason.UNAVAILABLE if error.retryable or not error.reached else UnscoredReason.REJECTED
