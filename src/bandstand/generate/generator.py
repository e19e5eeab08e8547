"""Tips from a language model: one conversation, at most two corrections, one deadline over all of it."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bandstand.errors import OverloadedError
from bandstand.generate.errors import GatewayError, GatewayUnreachableError, NotJsonError
from bandstand.generate.parse import MAX_ID_CHARS, TIPS_SCHEMA, NotTipsError, parse_tips
from bandstand.generate.quote import QuotedTasks, quote_extra, quote_tasks
from bandstand.generate.tasks import read_task, task_id
from bandstand.generate.tips import GeneratedTip, Generation, TipRequest
from bandstand.llm.chat import ChatClient, ChatReply, ChatRequest, Message, build_messages
from bandstand.llm.errors import ChatError
from bandstand.prompts.library import Prompt

TEMPERATURE = 0.7
MAX_TOKENS = 4_096
TOKENS_PER_TIP = 200
"""A tip of 300 characters with its rationale, in JSON; in Chinese about the same."""
MAX_TRIES = 3
DEADLINE_S = 60.0

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PERIODS = ((5, "night"), (10, "morning"), (14, "midday"), (18, "afternoon"), (22, "evening"))

PARAMETERS: Mapping[str, str] = {
    "n": "how many tips to write",
    "tasks": "the user's tasks, quoted and fenced",
    "tasks_left_out": "how many tasks did not fit",
    "extra": "what else the product knows, quoted and fenced; empty where it said nothing",
    "hour_of_day": "0 to 23",
    "day_of_week": "0 (Monday) to 6",
    "day": "the weekday's name",
    "period": "morning, midday, afternoon, evening or night",
}
"""Every value a ``generate`` prompt may ask for."""

_MIN_TITLE_CHARS = 4  # of a shorter one, a tip may have the letters by chance

_CORRECTION = (
    "Your answer could not be used. {reason} Answer again with nothing but the JSON object that was asked for: "
    '{{"tips": [{{"id": "...", "content": "...", "rationale": "...", "task_id": "..."}}]}}, '
    "no text around it and no code fence."
)
_SHORTER = "The answer was cut off: write fewer words."


class TipGenerator:
    """Asks a model for tips and sees to it that tips come back.

    Args:
        client: asks the model; failures of the gateway are its to raise, retries of the transport its to make.
        deadline_s: the longest one request may take, over all tries.
        max_concurrent: how many requests may be under way at once.
        clock: monotonic seconds, the same that the client reads.
    """

    def __init__(
        self,
        client: ChatClient,
        *,
        deadline_s: float = DEADLINE_S,
        max_concurrent: int = 64,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._deadline_s = deadline_s
        self._max_concurrent = max_concurrent
        self._clock = clock
        self._running = 0

    async def generate(self, request: TipRequest, prompt: Prompt) -> Generation:
        """Write at most ``request.n`` tips.

        Cancelling it cancels the call under way.

        Raises:
            OverloadedError: too many requests are under way; the model was not called.
            GatewayError: the gateway answered an error, or the model declined.
            NotJsonError: the last of three answers still was not tips.
            GatewayUnreachableError: the gateway cannot be reached, or the deadline passed.
            PromptError: the prompt cannot be rendered.
        """
        if self._running >= self._max_concurrent:
            raise OverloadedError("Too many tips are being written just now.")
        self._running += 1
        try:
            return await self._run_conversation(request, prompt)
        finally:
            self._running -= 1

    async def _run_conversation(self, request: TipRequest, prompt: Prompt) -> Generation:
        deadline = self._clock() + self._deadline_s
        quoted = quote_tasks(request.tasks)
        rendered = prompt.render(build_prompt_values(request, quoted))
        asked = ChatRequest(
            messages=build_messages(rendered.system, rendered.user),
            max_tokens=max(MAX_TOKENS, TOKENS_PER_TIP * request.n),
            deadline=deadline,
            temperature=TEMPERATURE,
            schema=TIPS_SCHEMA,
        )
        prompt_tokens = completion_tokens = 0
        for tries in range(1, MAX_TRIES + 1):
            reply = await self._request_reply(asked)
            prompt_tokens += reply.prompt_tokens or 0
            completion_tokens += reply.completion_tokens or 0
            try:
                tips = parse_tips(reply.text, request.n, quoted.places)
            except NotTipsError as error:
                asked = replace(asked, messages=asked.messages + _build_correction(reply, str(error)))
            else:
                return Generation(
                    tips=tuple(_find_task(tip, request.tasks, quoted.places) for tip in tips),
                    requested=request.n,
                    model=reply.model,
                    prompt_version=prompt.version,
                    prompt_digest=prompt.digest,
                    prompt_tokens=prompt_tokens,
                    completion_tokens=completion_tokens,
                    tries=tries,
                    tasks_left_out=quoted.left_out,
                )
        raise NotJsonError(f"The model did not answer with valid JSON in {MAX_TRIES} tries.")

    async def _request_reply(self, asked: ChatRequest) -> ChatReply:
        try:
            reply = await self._client.complete(asked)
        except ChatError as error:
            if error.reached:
                raise GatewayError("The model gateway answered with an error.") from error
            detail = "The model gateway cannot be reached, or did not answer in time."
            wait = error.retry_after_s
            if wait is None:
                raise GatewayUnreachableError(detail) from error
            raise GatewayUnreachableError(detail, retry_after=math.ceil(wait)) from error
        if reply.refusal is not None:
            raise GatewayError("The model declined to write tips.")
        return reply


def _find_task(tip: GeneratedTip, tasks: Sequence[Mapping[str, object]], places: Mapping[str, int]) -> GeneratedTip:
    """Find the task that a tip is about: the one that its ``task_id`` names, else the only one whose title it names."""
    if tip.source_id is not None:
        place = places[tip.source_id]
        own = task_id(tasks[place])
        return replace(tip, task=place, source_id=own if own and len(own) <= MAX_ID_CHARS else None)
    words = f"{tip.content} {tip.rationale or ''}".casefold()
    named = [place for place in places.values() if _is_named(read_task(tasks[place]).title, words)]
    return replace(tip, task=named[0] if len(named) == 1 else None)


def _is_named(title: str, words: str) -> bool:
    title = " ".join(title.casefold().split())
    return len(title) >= _MIN_TITLE_CHARS and title in words


def build_prompt_values(request: TipRequest, quoted: QuotedTasks) -> dict[str, object]:
    """What a ``generate`` prompt is rendered with: a value for each of ``PARAMETERS``."""
    return {
        "n": request.n,
        "tasks": quoted.text,
        "tasks_left_out": quoted.left_out,
        "extra": quote_extra(request.extra),
        "hour_of_day": request.hour_of_day,
        "day_of_week": request.day_of_week,
        "day": _DAYS[request.day_of_week],
        "period": get_day_period(request.hour_of_day),
    }


def get_day_period(hour: int) -> str:
    """The period of the day: 5–10 h morning, 10–14 midday, 14–18 afternoon, 18–22 evening, else night."""
    return next((period for end, period in _PERIODS if hour < end), "night")


def _build_correction(reply: ChatReply, reason: str) -> tuple[Message, ...]:
    if reply.finish_reason == "length":
        reason = f"{reason} {_SHORTER}"
    return (
        # Some gateways refuse an empty message.
        {"role": "assistant", "content": reply.text or "(nothing)"},
        {"role": "user", "content": _CORRECTION.format(reason=reason)},
    )
