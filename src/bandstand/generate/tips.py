"""The values of generating: the request, one tip, and the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

TipSource = Literal["llm", "template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TipRequest:
    """A user's moment, and how many tips are wanted.

    Attributes:
        tasks: JSON objects, as the product sent them.
        n: how many tips, 1 to 50.
        hour_of_day: 0 to 23.
        day_of_week: 0 (Monday) to 6.
        extra: anything else the product knows.
    """

    tasks: Sequence[Mapping[str, object]]
    n: int = 3
    hour_of_day: int = 12
    day_of_week: int = 0
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedTip:
    """One tip.

    Attributes:
        id: unique among the tips it came with.
        content: what the user reads; not empty, at most 2,000 characters.
        rationale: why, or None.
        source: what wrote it.
        source_id: the id of the task it is about, as the request has it, where that is known and it has one.
        task: where the task it is about stands among the request's, from 0; None if that is not known.
    """

    id: str
    content: str
    rationale: str | None = None
    source: TipSource = "llm"
    source_id: str | None = None
    task: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The result of one request.

    Attributes:
        tips: at most as many as requested.
        requested: how many were wanted.
        model: what wrote them, as the gateway names it.
        prompt_version: the prompt used; ``template`` where none was.
        prompt_digest: its content's SHA-256, or "" where no prompt was used.
        prompt_tokens: tokens read, over all tries.
        completion_tokens: tokens written, over all tries.
        tries: calls made to the model.
        tasks_left_out: tasks that the model did not see.
    """

    tips: tuple[GeneratedTip, ...]
    requested: int
    model: str
    prompt_version: str
    prompt_digest: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tries: int = 0
    tasks_left_out: int = 0

    @property
    def missing(self) -> int:
        """How many of the requested tips are missing."""
        return self.requested - len(self.tips)
