"""What evaluations look like on the wire: the request, and the answers as OpenAPI shows them."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from bandstand.api.schemas.requests import Id, RequestBody, Time
from bandstand.api.schemas.runs import Run

EVALUATION_EXAMPLES: dict[str, Any] = {
    "two policies": {
        "summary": "Would one of these have earned more?",
        "value": {"policies": ["thompson-v1", "linucb-v1"]},
    },
    "a span, frozen": {
        "summary": "What a policy had learned by February, over what came after",
        "value": {"policies": ["linucb-v2"], "since": "2026-02-01T00:00:00Z", "frozen": True, "estimators": ["snips"]},
    },
}


class EvaluationRequest(TypedDict):
    """What to evaluate on the decisions that were logged."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # type: ignore[misc]  # pydantic's documented hook

    policies: Annotated[list[Id], Field(min_length=1, max_length=20)]
    estimators: NotRequired[
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=50)]],
            Field(
                min_length=1,
                max_length=20,
                description="Each with its parameter if it has one: `clipped_ips:20`",
                json_schema_extra={"default": ["ips", "snips", "dr"]},
            ),
        ]
    ]
    since: NotRequired[Annotated[Time, Field(description="Evaluate decisions from here on; earlier ones only teach")]]
    until: NotRequired[Annotated[Time, Field(description="Read nothing after this")]]
    missing_reward: NotRequired[
        Annotated[
            float,
            Field(
                ge=-1, le=1, description="What a decision without a reward is worth; left out, such decisions are too"
            ),
        ]
    ]
    interval: NotRequired[Literal["normal", "bootstrap"]]
    frozen: NotRequired[Annotated[bool, Field(description="Evaluate what the policies had learned by `since` alone")]]


EVALUATION = RequestBody("EvaluationRequest", TypeAdapter(EvaluationRequest), EVALUATION_EXAMPLES)
REQUEST_BODIES = (EVALUATION,)


class Evaluation(Run):
    """An evaluation of policies on the log; `plan` is the request."""


class EvaluationResult(Evaluation):
    """An evaluation with its report, as `bandstand evaluate --json` prints one."""

    report: dict[str, Any] | None = Field(
        description="Null until it is done. `log` says what it holds; `policies[]` has for each its `estimates[]`"
        " (`value`, `low`, `high`, `ess`, `lift` over what was logged), `doubts[]` in words, `curve[]` and `weights`"
    )


class EvaluationList(BaseModel):
    """A page of evaluations, newest first; ``next`` is the ``before`` of the next page."""

    evaluations: list[Evaluation]
    next: int | None
