"""The schemas of what ``/generate``, ``/recommend`` and ``/prompts`` answer. An answer may hold more than is named."""

from typing import Any, Literal

from pydantic import Field

from bandstand.api.schemas.learning import AnswerBody, Ranked


class Tip(AnswerBody):
    """One tip, ready for `/score`."""

    id: str
    content: str
    source: Literal["llm", "template"]
    source_id: str | None = Field(description="The id of the task it is about, where that is known")
    rationale: str | None
    features: dict[str, Any] = Field(description="What that task says under the names that the schemas read")


class GenerateResponse(AnswerBody):
    """The tips."""

    candidates: list[Tip] = Field(description="At most `n`, in the order in which they were written")
    model: str = Field(description="As the gateway names it; `template` where no model was asked")
    prompt_version: str = Field(description="The one used; `template` where none was")
    prompt_tokens: int = Field(description="Over all tries")
    completion_tokens: int = Field(description="Over all tries")
    generation_id: str | None = Field(description="Null if it could not be logged: its tips then teach no prompt")
    requested: int
    missing: int = Field(description="How many tips fewer than requested")
    tasks_left_out: int = Field(description="Tasks that were not looked at: too many, or too long together")
    tries: int = Field(description="Calls made to the model")


class RecommendResponse(GenerateResponse):
    """The tips and the pick among them."""

    tip_id: str | None = Field(description="The pick; null, like all that says how it was made, if there are no tips")
    score: float | None
    policy: str | None
    decision_id: str | None = Field(description="Reward it by this id; null if it could not be logged")
    propensity: float | None
    exploring: bool | None
    ranking: list[Ranked] = Field(description="All candidates, best score first")


class PromptEntry(AnswerBody):
    """One version of a prompt."""

    name: str
    version: str
    description: str
    digest: str = Field(description="SHA-256 of the file")
    share: float | None = Field(description="Probability that a request gets it that names none; null elsewhere")


class BrokenFile(AnswerBody):
    """A file that was left out."""

    file: str
    line: int
    reason: str


class PromptList(AnswerBody):
    """Every prompt in service."""

    default: str = Field(description="`auto`, or the versions of requests that name none")
    prompts: list[PromptEntry]
    broken: list[BrokenFile]


class PromptText(AnswerBody):
    """One version of a prompt with its text."""

    name: str
    version: str
    description: str
    digest: str
    parameters: dict[str, str] = Field(description="The values it needs, each with its meaning")
    text: str = Field(description="The file")


class VersionStats(AnswerBody):
    """What one wording of a version earned."""

    version: str = Field(description="`template` for tips made without a prompt")
    digest: str
    in_service: bool
    share: float | None = Field(description="Probability that a request gets it that names none")
    generations: int
    tips: int = Field(description="Tips written")
    decisions: int = Field(description="Decisions that picked one of them")
    rewards: int = Field(description="Rewards of those decisions that taught")
    reaction_rate: float | None = Field(description="rewards / decisions")
    mean_reward: float | None
    interval: list[float] | None = Field(description="95 % confidence interval of the mean; null below four rewards")


class PromptStats(AnswerBody):
    """What each version earned, those in service first."""

    default: str
    versions: list[VersionStats]
