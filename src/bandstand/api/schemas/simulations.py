"""What simulations look like on the wire: the request, and the answers as OpenAPI shows them."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from bandstand.api.schemas.requests import Id, RequestBody
from bandstand.api.schemas.runs import Run
from bandstand.simulate.limits import LIMITS

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

SIMULATION_EXAMPLES: dict[str, Any] = {
    "shipped": {
        "summary": "The shipped personas, two policies",
        "value": {"policies": ["linucb-v1", "linucb-v2"], "days": 2, "seeds": 2},
    },
    "own personas": {
        "summary": "Personas of one's own",
        "value": {
            "policies": ["linucb-v2"],
            "world": {"personas": [{"name": "Ada", "prefers_high_priority": 0.9, "prefers_overdue": 0.1}]},
            "personas": 1,
            "days": 2,
            "seeds": 2,
        },
    },
}


def _within(name: str, description: str | None = None) -> Any:
    """The limits of one of the plan's numbers, and its default as OpenAPI shows it."""
    limit = LIMITS[name]
    return Field(ge=limit.least, le=limit.most, description=description, json_schema_extra={"default": limit.default})


class PersonaFields(TypedDict):
    """A persona: traits in [-1, 1], and the hours it is active in."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # pydantic's documented hook

    name: Id
    prefers_high_priority: Annotated[float, Field(ge=-1, le=1)]
    prefers_overdue: Annotated[float, Field(ge=-1, le=1)]
    morning_active: NotRequired[bool]
    evening_active: NotRequired[bool]
    description: NotRequired[Annotated[str, Field(max_length=1000)]]
    language: NotRequired[Literal["en", "zh", "mixed"]]


class OwnWorld(TypedDict):
    """A persona set of the caller's own."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # as above

    personas: Annotated[list[PersonaFields], Field(min_length=1, max_length=1000)]


class SimulationRequest(TypedDict):
    """What to simulate; a judge's command, a URL and a file are for the command line alone."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # as above

    policies: NotRequired[Annotated[list[Id], Field(min_length=1, max_length=20)]]
    world: NotRequired[Literal["shipped", "uniform", "signed"] | OwnWorld]
    personas: NotRequired[Annotated[int, _within("personas", description="Users")]]
    days: NotRequired[Annotated[int, _within("days")]]
    decisions_per_day: NotRequired[Annotated[int, _within("decisions_per_day")]]
    candidates: NotRequired[Annotated[int, _within("candidates")]]
    seeds: NotRequired[Annotated[int, _within("seeds")]]
    first_seed: NotRequired[Annotated[int, Field(ge=LIMITS["first_seed"].least, le=LIMITS["first_seed"].most)]]
    day_of_week: NotRequired[Annotated[int, Field(ge=0, le=6)] | None]
    reflex_rate: NotRequired[Annotated[float, Field(ge=0, le=1)]]
    judge: NotRequired[Literal["rule", "llm"]]
    events: NotRequired[Literal["none", "sample", "all"]]


SIMULATION = RequestBody("SimulationRequest", TypeAdapter(SimulationRequest), SIMULATION_EXAMPLES)
REQUEST_BODIES = (SIMULATION,)


class Simulation(Run):
    """A run."""


class SimulationResult(Simulation):
    """A run with its results so far: by policy, over all decisions and by decision, by persona, by judge."""

    policies: dict[str, dict[str, Any]]
    baselines: dict[str, dict[str, Any]]
    personas: dict[str, dict[str, Any]]


class SimulationList(BaseModel):
    """A page of runs, newest first; ``next`` is the ``before`` of the next page."""

    simulations: list[Simulation]
    next: int | None
