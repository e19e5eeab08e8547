"""The schemas of requests, made from the configured features: what is validated is what OpenAPI shows.

Requests are typed dictionaries, validated from JSON by pydantic in one pass (a third faster than model instances, and
the learning core takes mappings); most that score and reward are read sooner, by the same JSON Schema
(:mod:`bandstand.api.schemas.quick_reader`). Numbers are strict: no ``true``, no ``"0.5"``. Unknown fields are ignored
and kept in the ledger with the rest of the body. Values that are not strictly valid but plainly meant are read in a
second pass (:mod:`bandstand.api.schemas.tolerance`). The ledger keeps its result, so that readers of the ledger need
not be tolerant.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError, from_json, to_json
from typing_extensions import TypedDict

from bandstand.api.problems import from_field_errors, from_validation_error
from bandstand.api.schemas.examples import (
    GENERATE_EXAMPLES,
    RECOMMEND_EXAMPLES,
    RESET_EXAMPLES,
    REWARD_EXAMPLES,
    SCORE_EXAMPLES,
)
from bandstand.api.schemas.quick_reader import QuickReader, build_dict_reader, build_object_reader
from bandstand.api.schemas.tolerance import Normaliser, build_normaliser, repair_text
from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.features import Field as FeatureField
from bandstand.bandit.json_tokens import MAX_DEPTH, MAX_TEXT, MAX_TOKENS, find_open_fault
from bandstand.bandit.reaction_table import CONTRACT_REACTIONS, ReactionTable
from bandstand.bandit.reward_formula import MAX_METRICS
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.times import parse_bound

MAX_ID = 256
MAX_CANDIDATES = 1000
MAX_SLOTS = 50
MAX_TIPS = 50
_STRICT = ConfigDict(strict=True, cache_strings="keys", allow_inf_nan=False)
_CLOSED = ConfigDict(strict=True, cache_strings="keys", allow_inf_nan=False, extra="forbid")


def _parse_time(value: object) -> float:
    try:
        return parse_bound(value, needs_zone=True)
    except ValueError as error:
        kind = "time"
        raise PydanticCustomError(kind, "{meant}", {"meant": str(error)}) from None


Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""An identifier: 1 to 256 characters, any but control characters."""

Metric = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
"""The name of a metric."""

Time = Annotated[
    float,
    BeforeValidator(_parse_time),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
]
"""A moment: ISO 8601 with its zone, or seconds or milliseconds since 1970. Read as seconds."""

ABOUT = 'What was chosen and what it is meant to do, such as "hints first"; the verdict then says what it speaks of'

_ID = TypeAdapter(Id, config=_STRICT)
ID_SCHEMA = _ID.json_schema()
"""The same rule, as OpenAPI shows it."""


def validate_id(value: str, field: str) -> str:
    """Check an identifier from a path, a query or a header by the same rule as one in a body.

    Raises:
        InvalidRequestError: it is not one.
    """
    try:
        return _ID.validate_python(value)
    except ValidationError as error:
        problem = from_validation_error(error)
        problem.errors = tuple(fault._replace(field=field) for fault in problem.errors)
        problem.detail = f"{field}: {problem.errors[0].message}"
        raise problem from None


def _has_distinct_candidates(request: Mapping[str, Any]) -> bool:
    """Whether the ids differ in a request that was read quickly, whose candidates are structures."""
    candidates = request["candidates"]
    return len({candidate.field_id for candidate in candidates}) == len(candidates)


@dataclass(frozen=True)
class RequestBody:
    """A JSON request body: what validates it, and what OpenAPI shows of it.

    Attributes:
        name: of its schema in OpenAPI.
        adapter: its validator.
        examples: whole requests by name, as OpenAPI has them.
        build_reader: makes what reads it quickly, by its JSON Schema; of bodies that are read all day. ``None`` if
            pydantic reads every one.
        is_sound: whether a request that fits the JSON Schema is valid.
    """

    name: str
    adapter: TypeAdapter[Any]
    examples: Mapping[str, Any]
    build_reader: Callable[[Mapping[str, Any]], QuickReader] | None = None
    is_sound: Callable[[Mapping[str, Any]], bool] = lambda _: True

    def parse(self, body: bytes) -> dict[str, Any]:
        """A validated request.

        Raises:
            InvalidRequestError: names the fields at fault.
        """
        return self.read(body)[0]

    def read(self, body: bytes) -> tuple[dict[str, Any], bytes]:
        """A validated request, and JSON that says the same in strict form: the body itself where it is strict.

        Raises:
            InvalidRequestError: names the fields at fault.
        """
        if self._read_quickly is not None:
            quick = self._read_quickly(body)
            if quick is not None and self.is_sound(quick):
                return quick, body
        try:
            request: dict[str, Any] = self.adapter.validate_json(body)
        except ValidationError as error:
            return self._read_tolerantly(body, error)
        if b"NaN" in body or b"Infinity" in body:  # pydantic reads them as numbers, also where it ignores the field
            _require_json(body)
        return request, body

    def _read_tolerantly(self, body: bytes, refusal: ValidationError) -> tuple[dict[str, Any], bytes]:
        try:
            value = from_json(repair_text(body), allow_inf_nan=False)
        except ValueError:
            if any(map(_is_no_json, refusal.errors(include_url=False))):
                raise from_validation_error(refusal) from None
            raise _build_constant_error() from None
        body = to_json(self._normaliser(value))
        try:
            return self.adapter.validate_json(body), body
        except ValidationError as error:
            raise from_validation_error(error) from None

    @cached_property
    def _read_quickly(self) -> QuickReader | None:
        return None if self.build_reader is None else self.build_reader(self.adapter.json_schema())

    @cached_property
    def _normaliser(self) -> Normaliser:
        return build_normaliser(self.adapter.json_schema())


def _is_no_json(fault: ErrorDetails) -> bool:
    """Whether a fault names the place of what can be no JSON: NaN and its kin, where a schema looks."""
    value = fault["input"]
    return fault["type"] == "json_invalid" or (isinstance(value, float) and not math.isfinite(value))


class Wire:
    """The request bodies that depend on the catalogue's features.

    Args:
        catalogue: whose fields are read.
        strict_features: refuse what no schema reads among features and in a context.
        rewards: the range that a reward must be in.
    """

    def __init__(
        self, catalogue: Catalogue, *, strict_features: bool = False, rewards: RewardSettings = CONTRACT
    ) -> None:
        read = {**catalogue.context_fields, **catalogue.candidate_fields}
        if catalogue.is_open:  # which reads everything
            context, features = _make_open_dict("Context", catalogue.context_fields), _make_open_dict("Features", read)
        else:
            context = _make_fields_dict("Context", catalogue.context_fields, closed=strict_features)
            features = _make_fields_dict("Features", read, closed=strict_features)
        candidate = _make_typed_dict(
            "Candidate",
            {
                "id": Id,
                "content": str,
                "source": str,
                "source_id": NotRequired[str | None],
                "features": NotRequired[features],
            },
        )
        candidates = Annotated[
            list[candidate],  # type: ignore[valid-type]  # made at run time
            Field(min_length=1, max_length=MAX_CANDIDATES),
            AfterValidator(_validate_distinct),
        ]
        slot = _make_typed_dict(
            "Slot",
            {
                "id": Id,
                "context": NotRequired[
                    Annotated[context, Field(description="Fields of the context that are this slot's own")]
                ],
                "exclude": NotRequired[
                    Annotated[list[Id], Field(max_length=MAX_CANDIDATES, description="Must not be shown here")]
                ],
                "baseline": NotRequired[
                    Annotated[Id, Field(description="The candidate that stands here without any policy")]
                ],
            },
        )
        score = _make_typed_dict(
            "ScoreRequest",
            {
                "user_id": Id,
                "candidates": candidates,
                "context": NotRequired[context],
                "decision_id": NotRequired[Annotated[Id, Field(description="The caller's own id for this decision")]],
                "ranking": NotRequired[Annotated[bool, Field(description="Also return all candidates, best first")]],
                "exclude": NotRequired[
                    Annotated[
                        list[Id],
                        Field(max_length=MAX_CANDIDATES, description="Candidates, by id, that must not be picked"),
                    ]
                ],
                "defer": NotRequired[
                    Annotated[bool, Field(description="Nothing is taught until the decision is activated")]
                ],
                "slots": NotRequired[
                    Annotated[
                        list[slot],  # type: ignore[valid-type]  # made at run time
                        Field(
                            min_length=1,
                            max_length=MAX_SLOTS,
                            description="To be filled in this order, each with a candidate of its own",
                        ),
                    ]
                ],
            },
        )
        reaction = _make_typed_dict(
            "Reaction",
            {
                "action": _build_action(rewards.reactions),
                "dwell_ms": NotRequired[Annotated[float, Field(ge=0)] | None],
            },
        )
        turn = _make_typed_dict(
            "RewardTurn",
            {
                "query_t": Annotated[str, Field(description="What the user asked; may be empty")],
                "answer_t": Annotated[str, Field(description="What was answered")],
                "query_t1": Annotated[str, Field(description="What the user said next")],
                "about": NotRequired[Annotated[str, Field(description=ABOUT)]],
                "taxonomy": NotRequired[Annotated[Id, Field(description="Left out, the deployment's own choice")]],
            },
        )
        reward_fields: dict[str, Any] = {
            "decision_id": NotRequired[
                Annotated[Id, Field(description="From /score; the fields below are then optional")]
            ],
            "user_id": NotRequired[Id],
            "tip_id": NotRequired[Id],
            "reward": NotRequired[Annotated[float, Field(ge=rewards.minimum, le=rewards.maximum)]],
            "reaction": NotRequired[reaction],
            "metrics": NotRequired[
                Annotated[
                    dict[Metric, float],
                    Field(max_length=MAX_METRICS, description="Of a decision, by name: a formula may make its reward"),
                ]
            ],
            "features": NotRequired[features],
            "turn": NotRequired[turn],
            "wait": NotRequired[
                Annotated[bool, Field(description="With turn: answer with the verdict, once there is one")]
            ],
        }
        if "day_of_week" in catalogue.context_fields:
            reward_fields["day_of_week"] = NotRequired[_to_annotation(catalogue.context_fields["day_of_week"])]
        reward = _make_typed_dict("RewardRequest", reward_fields)
        reset = _make_typed_dict("ResetRequest", {"user_id": Id})
        generate = _make_generate_request("Generate", {})
        recommend = _make_generate_request("Recommend", catalogue.context_fields, closed=strict_features)
        self.score = RequestBody(
            "ScoreRequest", TypeAdapter(score), SCORE_EXAMPLES, build_object_reader, _has_distinct_candidates
        )
        self.reward = RequestBody("RewardRequest", TypeAdapter(reward), REWARD_EXAMPLES, build_dict_reader)
        self.reset = RequestBody("ResetRequest", TypeAdapter(reset), RESET_EXAMPLES)
        self.generate = RequestBody("GenerateRequest", TypeAdapter(generate), GENERATE_EXAMPLES)
        self.recommend = RequestBody("RecommendRequest", TypeAdapter(recommend), RECOMMEND_EXAMPLES)
        self.bodies = (self.score, self.reward, self.reset, self.generate, self.recommend)


def _require_json(body: bytes) -> None:
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError:
        raise _build_constant_error() from None


def _build_constant_error() -> InvalidRequestError:
    return from_field_errors(FieldError("body", "NaN and Infinity are not JSON"))


def _make_generate_request(name: str, fields: Mapping[str, FeatureField], *, closed: bool = False) -> Any:
    """The request for tips: the user's context, with the context ``fields`` of the policy that picks among them."""
    task = Annotated[dict[str, Any], Field(description="Any object; it is read as untrusted text")]
    context = _make_typed_dict(
        f"{name}Context",
        {
            "hour_of_day": NotRequired[Annotated[int, Field(ge=0, le=23, json_schema_extra={"default": 12})]],
            "day_of_week": NotRequired[Annotated[int, Field(ge=0, le=6, json_schema_extra={"default": 0})]],
            **{key: NotRequired[_to_annotation(field)] for key, field in fields.items()},
            "tasks": NotRequired[Annotated[list[task], Field(description="The 200 most urgent are looked at")]],
            "extra": NotRequired[Annotated[dict[str, Any], Field(description="What else the product knows")]],
        },
        closed=closed,
    )
    request = {
        "user_id": Id,
        "context": NotRequired[context],
        "n": NotRequired[Annotated[int, Field(ge=1, le=MAX_TIPS, json_schema_extra={"default": 3})]],
        "prompt_version": NotRequired[
            Annotated[str | None, Field(max_length=MAX_ID, description="Left out, the deployment chooses")]
        ],
    }
    return _make_typed_dict(f"{name}Request", request)


def _make_fields_dict(name: str, fields: Mapping[str, FeatureField], *, closed: bool) -> Any:
    annotations = {key: NotRequired[_to_annotation(field)] for key, field in fields.items()}
    return _make_typed_dict(name, annotations, closed=closed)


def _make_open_dict(name: str, fields: Mapping[str, FeatureField]) -> Any:
    """The fields that schemas name, checked by their rules, and any other JSON, within limits."""
    typed_dict = _make_fields_dict(name, fields, closed=False)
    description = (
        f"These fields, and any other JSON: at most {MAX_TOKENS} values, nested {MAX_DEPTH} deep, names and strings "
        f"of at most {MAX_TEXT} characters; names that begin with an underscore are not read"
    )
    config = ConfigDict(**_STRICT, extra="allow", json_schema_extra={"description": description})
    typed_dict.__pydantic_config__ = config

    def validate_open(value: dict[str, Any]) -> dict[str, Any]:
        fault = find_open_fault(value, fields)
        if fault is not None:
            raise PydanticCustomError("open_features", "{fault}", {"fault": fault})
        return value

    return Annotated[typed_dict, AfterValidator(validate_open)]


def _to_annotation(field: FeatureField) -> Any:
    kinds = {"integer": int, "number": float, "boolean": bool, "string": str, "vector": float}
    bounds = {"ge": field.minimum, "le": field.maximum}
    constraints: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    default: Any = list(field.default) if isinstance(field.default, tuple) else field.default
    if field.type == "vector":
        number = Annotated[float, Field(**constraints)]
        constraints = {"min_length": field.length, "max_length": field.length}
        return Annotated[list[number], Field(json_schema_extra={"default": default}, **constraints)]
    if field.type == "string":
        constraints["max_length"] = MAX_ID
    return Annotated[kinds[field.type], Field(json_schema_extra={"default": default}, **constraints)]


def _make_typed_dict(name: str, fields: dict[str, Any], *, closed: bool = False) -> Any:
    typed_dict = TypedDict(name, fields)  # type: ignore[misc]  # fields are known at run time only
    typed_dict.__pydantic_config__ = _CLOSED if closed else _STRICT  # type: ignore[attr-defined]  # pydantic's documented hook
    return typed_dict


def _build_action(table: ReactionTable) -> Any:
    """What a reaction's action may be: the contract's own, or any name of which the loop's table then says whether."""
    if table == CONTRACT_REACTIONS:
        return Literal["dismiss", "snooze", "done"]
    return Annotated[str, StringConstraints(min_length=1, max_length=64)]


def _validate_distinct(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len({candidate["id"] for candidate in candidates}) < len(candidates):
        kind, message = "duplicate_candidate", "candidate ids must differ from each other"
        raise PydanticCustomError(kind, message)
    return candidates
