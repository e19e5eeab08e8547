"""Logged requests as any schema encodes them, many at a time."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bandstand.bandit.columns import Field
from bandstand.bandit.eligibility import Indices, find_eligible
from bandstand.bandit.features import FeatureSchema, read_features
from bandstand.errors import InvalidRequestError
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray

_EMPTY: dict[str, object] = {}


class LoggedRequest(NamedTuple):
    """What a decision was made from.

    Attributes:
        location: what an error calls it.
        context: raw values by field.
        features: of each candidate, raw values by field.
        eligible: places of the candidates that could be picked; ``None`` for all.
    """

    location: str
    context: Mapping[str, object]
    features: Sequence[Mapping[str, object]]
    eligible: Indices | None = None

    @classmethod
    def parse(cls, location: str, body: bytes | str, pick: int | None = None) -> "LoggedRequest":
        """Read a score request; with ``pick`` only that candidate of it.

        Raises:
            EvaluationError: it is no score request.
        """
        try:
            request: dict[str, Any] = json.loads(body)
            candidates = request["candidates"] if pick is None else [request["candidates"][pick]]
            context = request.get("context", _EMPTY)
            features = [read_features(each) for each in candidates]
            eligible = find_eligible(request) if pick is None else None
        except (ValueError, LookupError, TypeError, AttributeError, InvalidRequestError):
            raise EvaluationError(f"{location}: not a score request") from None
        if not features or not all(isinstance(each, Mapping) for each in (context, *features)):
            raise EvaluationError(f"{location}: not a score request")
        return cls(location, context, features, eligible)

    def select_candidate(self, pick: int) -> "LoggedRequest":
        """Return the request as if that candidate had been alone."""
        return self._replace(features=[self.features[pick]], eligible=None)


def encode_requests(schema: FeatureSchema, requests: Sequence[LoggedRequest]) -> list[FloatArray]:
    """Encode requests under a schema that may not be the one they were served with: x of shape (K, d) for each.

    A field that a request lacks takes the schema's default.

    Raises:
        EvaluationError: a value does not fit its field; names the request and the field.
    """
    encoded: dict[int, FloatArray] = {}
    sizes: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        sizes.setdefault(len(request.features), []).append(index)
    for count, indexes in sizes.items():
        alike = [requests[index] for index in indexes]
        try:
            x = _encode_batch(schema, alike, count)
        except (_UnfitError, InvalidRequestError) as error:
            raise _find_error(schema, alike, count) or error from None
        encoded.update(zip(indexes, x, strict=True))
    return [encoded[index] for index in range(len(requests))]


class _UnfitError(Exception):
    """A value does not fit its field."""


def _encode_batch(schema: FeatureSchema, requests: Sequence[LoggedRequest], count: int) -> FloatArray:
    context = {
        name: _validate_values(field, [request.context.get(name, field.default) for request in requests])
        for name, field in schema.context_fields.items()
    }
    candidates = {
        name: _validate_values(
            field, [each.get(name, field.default) for request in requests for each in request.features]
        )
        for name, field in schema.candidate_fields.items()
    }
    if schema.is_open:
        everybody = [features for request in requests for features in request.features]
        return schema.encode_requests([request.context for request in requests], everybody)
    return schema.encode_columns(context, candidates, (len(requests), count))


def _validate_values(field: Field, values: list[Any]) -> list[Any]:
    if not field.are_valid(values):
        raise _UnfitError(f"{field.name} must be {_describe_field(field)}")
    return values


def _find_error(schema: FeatureSchema, requests: Sequence[LoggedRequest], count: int) -> EvaluationError | None:
    """Say which request the schema cannot encode, and why."""
    for request in requests:
        try:
            _encode_batch(schema, [request], count)
        except _UnfitError as error:
            return EvaluationError(f"{request.location}: {error} (schema {schema.name})")
        except InvalidRequestError as error:
            detail = "; ".join(f"{fault.field}: {fault.message}" for fault in error.errors)
            return EvaluationError(f"{request.location}: {detail} (schema {schema.name})")
    return None


def _describe_field(field: Field) -> str:
    kind = {
        "integer": "a whole number",
        "number": "a finite number",
        "boolean": "true or false",
        "string": "text",
        "vector": f"a list of {field.length} finite numbers",
    }
    limits = [
        f"{word} {limit:g}"
        for word, limit in (("from", field.minimum), ("to", field.maximum))
        if limit is not None and field.type in {"integer", "number"}
    ]
    return " ".join([kind[field.type], *limits])
