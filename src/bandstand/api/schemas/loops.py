"""Bodies of requests and answers about loops."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from bandstand.api.schemas.learning import AnswerBody
from bandstand.api.schemas.requests import RequestBody


class LoopRequest(TypedDict):
    """The definition of a loop, like a table of the configuration file; what is left out has its default."""

    # What it says is read by LoopDefinition, which knows what was probably meant by what it does not know.
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # pydantic's documented hook

    scope: NotRequired[Annotated[Any, Field(description="`user`: a model for each user; it cannot be changed later")]]
    mode: NotRequired[Annotated[Any, Field(description="`online`, `apprentice` or `logging`")]]
    policy: NotRequired[Annotated[Any, Field(description="What un-named requests mean until another is promoted")]]
    shadow: NotRequired[Annotated[Any, Field(description="Policies that look on and learn")]]
    include: NotRequired[Annotated[Any, Field(description="The service's policies that it has too; all if left out")]]
    schemas: NotRequired[Annotated[Any, Field(description="Feature schemas of its own, by name")]]
    policies: NotRequired[Annotated[Any, Field(description="Policies of its own, by name")]]
    rewards: NotRequired[Annotated[Any, Field(description="How rewards count")]]
    retention_days: NotRequired[Annotated[Any, Field(description="Days that its log is kept, 0 for ever")]]
    personalizer: NotRequired[Annotated[Any, Field(description="What only Personalizer's wire knows of it")]]


class LoopState(AnswerBody):
    """A loop."""

    name: str
    open: bool = Field(description="Whether it takes requests")
    fault: str | None = Field(description="Why it does not")
    mode: Literal["online", "apprentice", "logging"]
    scope: Literal["user", "loop"]
    active_policy: str | None = Field(description="What un-named requests mean, or of an apprentice: what learns")
    definition: dict[str, Any] = Field(description="As it can be PUT again")
    changed_at: str | None
    changed_by: str | None = Field(description="The API key; `settings` for the configuration file")


class LoopList(AnswerBody):
    """Every loop, the default one first."""

    loops: list[LoopState]


class LoopEvent(AnswerBody):
    """One change of a loop."""

    loop: str
    action: Literal["create", "change", "delete"]
    ts: str
    by: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class LoopDetail(LoopState):
    """A loop, and its newest 100 changes, the newest first."""

    changes: list[LoopEvent]


_EXAMPLES: dict[str, Any] = {
    "apprentice": {
        "summary": "One that learns beside what the product does today",
        "value": {"mode": "apprentice", "policy": "linucb-v2"},
    },
    "own": {
        "summary": "One with features of its own, and no others",
        "value": {
            "include": [],
            "policy": "shelf",
            "policies": {"shelf": {"kind": "linucb", "schema": "shelf", "floor": 0.02}},
            "schemas": {
                "shelf": {
                    "version": 1,
                    "intercept": True,
                    "features": [{"name": "price", "source": "candidate.price", "encoding": "number"}],
                }
            },
        },
    },
}
LOOP = RequestBody("LoopRequest", TypeAdapter(LoopRequest), _EXAMPLES)
REQUEST_BODIES = (LOOP,)
