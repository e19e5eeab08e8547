"""What turns, corrections and intents look like on the wire: the requests, and the answers as OpenAPI shows them."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from bandstand.api.schemas.learning import AnswerBody
from bandstand.api.schemas.requests import ABOUT, Id, RequestBody
from bandstand.judge.arbiter import TriggerReason
from bandstand.judge.gate import GateMode, WithheldReason
from bandstand.judge.verdict import Target, UnscoredReason

MAX_TURNS = 100
MAX_INTENTS = 100

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_TEXTS = ("query_t", "answer_t", "query_t1")

Share = Annotated[float, Field(ge=0, le=1)]

JUDGE_EXAMPLES: dict[str, Any] = {
    "one turn": {
        "summary": "One turn",
        "value": {"query_t": "Capital of Australia?", "answer_t": "It is Sydney.", "query_t1": "no, that is wrong"},
    },
    "two turns": {
        "summary": "Several turns",
        "value": {
            "turns": [
                {"query_t": "", "answer_t": "Done. Would you like more examples?", "query_t1": "no"},
                {
                    "query_t": "How do I solve 3x = 6?",
                    "answer_t": "Hint: divide both sides.",
                    "query_t1": "just give me the answer",
                    "about": "hints first",
                },
                {"query_t": "推荐电影", "answer_t": "推荐你看《海港灯火》。", "query_t1": "听起来不错，今晚就看"},
            ]
        },
    },
}

FEEDBACK_EXAMPLES: dict[str, Any] = {
    "correction": {
        "summary": "A rejection",
        "value": {"message": "不对，是周四", "previous_reply": "会议在周五。"},
    },
    "self": {
        "summary": "Users who correct themselves",
        "value": {"message": "sorry, I meant tomorrow", "previous_reply": "At nine.", "threshold": 0.7},
    },
}

_INTENTS = [
    {"id": "refund", "name": "Refund", "description": "Wants money back", "score": 0.55},
    {"id": "cancel", "name": "Cancel", "description": "Wants to end the contract", "score": 0.35},
]

ARBITRATE_EXAMPLES: dict[str, Any] = {
    "conflict": {
        "summary": "A rule and a search that disagree",
        "value": {
            "tenant_id": "acme",
            "message": "I want out",
            "rule": {"rule_id": "cancel", "score": 0.6},
            "semantic": _INTENTS,
        },
    },
    "thresholds": {
        "summary": "With thresholds of its own",
        "value": {
            "tenant_id": "acme",
            "message": "money back!",
            "rule": None,
            "semantic": _INTENTS,
            "config": {"gray_zone_threshold": 0.5},
        },
    },
}


class JudgeTurn(TypedDict):
    """A turn."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # pydantic's documented hook

    query_t: Annotated[str, Field(description="What the user asked; may be empty")]
    answer_t: Annotated[str, Field(description="What was answered")]
    query_t1: Annotated[str, Field(description="What the user said next")]
    about: NotRequired[Annotated[str, Field(description=ABOUT)]]
    taxonomy: NotRequired[Annotated[Id, Field(description="Left out, the deployment's own choice")]]


class JudgeRequest(TypedDict):
    """A turn's fields, or ``turns``."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # as above

    query_t: NotRequired[str]
    answer_t: NotRequired[str]
    query_t1: NotRequired[str]
    about: NotRequired[str]
    taxonomy: NotRequired[Id]
    turns: NotRequired[Annotated[list[JudgeTurn], Field(min_length=1, max_length=MAX_TURNS)]]


class FeedbackRequest(TypedDict):
    """A message, and the reply before it."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # as above

    message: str
    previous_reply: str
    threshold: NotRequired[Annotated[Share, Field(json_schema_extra={"default": 0.6})]]


class RuleFields(TypedDict):
    """What a rule says."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # as above

    rule_id: Annotated[Id, Field(description="The intent it stands for")]
    score: Share
    name: NotRequired[Annotated[str, Field(description="Its name, where the candidates do not have it")]]
    description: NotRequired[Annotated[str, Field(description="What it means, likewise")]]


class IntentFields(TypedDict):
    """A candidate of the semantic search."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # as above

    id: Id
    name: str
    description: NotRequired[str]
    score: Share


class ThresholdFields(TypedDict):
    """What a request may change; nothing else."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")  # type: ignore[misc]  # as above

    conflict_threshold: NotRequired[Share]
    min_trigger_threshold: NotRequired[Share]
    gray_zone_threshold: NotRequired[Share]
    multi_intent_threshold: NotRequired[Share]


def _validate_ranking(intents: list[IntentFields]) -> list[IntentFields]:
    if len({intent["id"] for intent in intents}) != len(intents):
        kind, message = "duplicate_intent", "ids must differ from each other"
        raise PydanticCustomError(kind, message)
    if any(intents[place]["score"] > intents[place - 1]["score"] for place in range(1, len(intents))):
        kind, message = "intents_not_ranked", "must be best first"
        raise PydanticCustomError(kind, message)
    return intents


class ArbitrateRequest(TypedDict):
    """A message, and what a rule and a semantic search say of it."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # as above

    tenant_id: Id
    message: str
    rule: NotRequired[RuleFields | None]
    semantic: NotRequired[
        Annotated[list[IntentFields], Field(max_length=MAX_INTENTS), AfterValidator(_validate_ranking)]
    ]
    config: NotRequired[ThresholdFields | None]


def _validate_form(request: JudgeRequest) -> JudgeRequest:
    given = [name for name in _TEXTS if name in request]
    if ("turns" in request) == bool(given) or 0 < len(given) < len(_TEXTS):
        kind, message = "one_form", "must hold query_t, answer_t and query_t1, or turns"
        raise PydanticCustomError(kind, message)
    return request


JUDGE = RequestBody(
    "JudgeRequest", TypeAdapter(Annotated[JudgeRequest, AfterValidator(_validate_form)]), JUDGE_EXAMPLES
)
FEEDBACK = RequestBody("FeedbackRequest", TypeAdapter(FeedbackRequest), FEEDBACK_EXAMPLES)
ARBITRATE = RequestBody("ArbitrateRequest", TypeAdapter(ArbitrateRequest), ARBITRATE_EXAMPLES)
REQUEST_BODIES = (JUDGE, FEEDBACK, ARBITRATE)


class JudgementOfTurn(AnswerBody):
    """A verdict, and what the gate would make of it."""

    label: str | None = Field(description="Null where there is no verdict")
    confidence: float = Field(description="After calibration; 0 where there is no verdict")
    rationale: str
    reward: float = Field(description="What it would teach")
    should_update: bool = Field(description="Whether it would teach")
    unscored: UnscoredReason | None = Field(description="Why there is no verdict")
    target: Target | None = Field(description="What the message speaks of; null where the tier does not say")
    withheld: WithheldReason = Field(description="Why it would not teach; empty where it would")
    taxonomy: str
    tier: str
    model: str
    prompt: str | None = Field(description="The prompt that the LLM was asked with, and its hash")
    gate: GateMode
    tau: float
    calibration: str | None


class JudgeResponse(AnswerBody):
    """The judgements."""

    judgements: list[JudgementOfTurn] = Field(description="In the order of the turns")


class FeedbackResponse(AnswerBody):
    """Whether the message corrects the reply."""

    is_correction: bool
    kind: Literal["explicit_rejection", "alternative_request", "repetition", "self_correction", "neutral"]
    confidence: float
    reasoning: str
    tier: str
    model: str


class ArbitrateResponse(AnswerBody):
    """The intent."""

    intent_id: str | None = Field(description="Null where nothing could be decided")
    intent_name: str | None
    score: float
    reasoning: str
    duration_ms: float
    tokens_used: int
    triggered: bool = Field(description="Whether the LLM was worth asking")
    trigger_reason: TriggerReason
