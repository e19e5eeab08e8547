"""What launches look like on the wire."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from bandstand.api.schemas.learning import AnswerBody
from bandstand.api.schemas.requests import RequestBody

LAUNCH_EXAMPLES: dict[str, Any] = {
    "as usual": {"summary": "1, 10, 50, 100 % of the users, 500 rewarded decisions each", "value": {}},
    "a guarded one": {
        "summary": "Three steps, and back where a decision is surely worth less than 0.1",
        "value": {"steps": [5, 25, 100], "min_decisions": 2000, "guardrails": {"reward": 0.1}, "margin": 0.02},
    },
}


class LaunchRequest(TypedDict):
    """How a policy is to be launched."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # type: ignore[misc]  # pydantic's documented hook

    steps: NotRequired[
        Annotated[
            list[Annotated[float, Field(gt=0, le=100)]],
            Field(
                min_length=1,
                max_length=20,
                description="Its shares of the users in percent, growing, the last 100",
                json_schema_extra={"default": [1, 10, 50, 100]},
            ),
        ]
    ]
    min_decisions: NotRequired[
        Annotated[
            int,
            Field(
                ge=1, le=10**9, description="With a reward, before the next step", json_schema_extra={"default": 500}
            ),
        ]
    ]
    guardrails: NotRequired[
        Annotated[
            dict[Annotated[str, Field(min_length=1, max_length=100)], float],
            Field(
                max_length=20,
                description="By metric, the mean a decision below which it goes back: of `reward`, and of any that"
                " rewards bring under `metrics`; the launch waits until they do",
            ),
        ]
    ]
    margin: NotRequired[
        Annotated[
            float,
            Field(
                gt=0,
                le=1,
                description="As a share of the control's mean reward: before it gets more than a fifth of the users it"
                " must surely not be worse by more",
                json_schema_extra={"default": 0.05},
            ),
        ]
    ]


LAUNCH = RequestBody("LaunchRequest", TypeAdapter(LaunchRequest), LAUNCH_EXAMPLES)
REQUEST_BODIES = (LAUNCH,)

_State = Literal["running", "held", "rolled_back", "cancelled", "finished"]


class LaunchChange(AnswerBody):
    """One event of a launch."""

    ts: str
    by: str = Field(description="Name of the API key; `launch` where the ladder did it by itself")
    action: Literal["start", "advance", "hold", "resume", "rollback", "cancel", "finish"]
    state: _State
    share: float = Field(description="Of the users from then on, in percent")
    reason: str
    figures: dict[str, float | None] = Field(description="What it rests on")


class Launch(AnswerBody):
    """How a launch stands."""

    policy: str
    control: str
    steps: list[float]
    min_decisions: int
    guardrails: dict[str, float]
    margin: float
    state: _State
    share: float = Field(description="Of the users that it has now, in percent")
    waits_for: str = Field(description="What the next step waits for")
    figures: dict[str, float | None] = Field(description="Of this step, as of now")
    events: list[LaunchChange]


class NewestLaunch(AnswerBody):
    """The newest launch of a policy."""

    launch: Launch | None = Field(description="Null where it was never launched")
