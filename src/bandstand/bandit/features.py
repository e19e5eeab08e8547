"""Feature schemas: from raw context and candidates to the numbers x that the policies see.

A schema is data (TOML or JSON): which fields there are, with their types, defaults and limits, and how each becomes
columns. Request validation, OpenAPI, the models and the ledger's re-encoding all follow from the one definition.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np

from bandstand.bandit.arrays import FloatArray, read_only
from bandstand.bandit.columns import BLOCK, INTERCEPT, MAX_MAGNITUDE, Feature, FeatureReader, Field, RawValue, Source
from bandstand.bandit.encoding import MAX_COLUMNS
from bandstand.bandit.encoding_base import Encoder, encode_arrays, pack
from bandstand.bandit.json_object import list_values
from bandstand.bandit.open_features import NamedPart, OpenEncoder, TokenCounts
from bandstand.definition import NAME_PATTERN, DefinitionTable, hash_definition, is_name, to_configuration_error
from bandstand.errors import FieldError, InvalidRequestError

__all__ = ["MAX_CELLS", "FeatureSchema", "Field", "read_features"]

MAX_CELLS = 65_536
"""Most numbers K·d that one request may be encoded into."""

CONTENT = "content"
"""The field that a candidate's own text fills."""

_MAX_VERSION = 1_000_000
_NO_FEATURES: Mapping[str, object] = MappingProxyType({})
_FEW = 128
_REMEMBERED_VALUES = 1024


class _ContextStep(NamedTuple):
    """The columns of one feature of the context: one value a request."""

    field: str
    default: RawValue
    columns: slice
    encode_one: Callable[[Any], tuple[float, ...]]


class _CandidateStep(NamedTuple):
    """The columns of one feature of the candidates: one value for each."""

    field: str
    default: RawValue
    start: int
    encode: Encoder


class FeatureSchema:
    """A compiled feature schema; make one with :meth:`parse`.

    Attributes:
        name: what policies call it by.
        version: the number its author gave it.
        definition: the definition with every default spelled out, as JSON values; parsing it again gives this schema.
        hash: 16 hex digits over ``definition``; sums learned under one hash mean nothing under another. A key added to
            definitions later must be left out of it at its default, or every stored hash changes.
        has_intercept: whether the first column is 1 in every row.
        labels: a name for each of the d columns.
        dimension: d, with the column that tells the block, if there is one: the last.
        block_count: how many blocks of weights, 0 where all rows share the same.
        weight_count: how many weights a row meets: d, or d − 1 if there are blocks.
        shape: of all weights: (d,), or (blocks, d − 1).
        weight_labels: a name for each of all weights, block by block.
        context_fields: what it reads from the context, by name.
        candidate_fields: what it reads from a candidate's features, by name.
        is_open: whether it reads whatever else context and candidates have.
    """

    def __init__(
        self, name: str, version: int, features: Sequence[Feature], *, intercept: bool, block: Feature | None = None
    ) -> None:
        self.name = name
        self.version = version
        self.definition: dict[str, Any] = {
            "version": version,
            "intercept": intercept,
            "features": [feature.definition for feature in features],
            **({} if block is None else {BLOCK: block.definition}),
        }
        self.hash = hash_definition(self.definition)
        labels = [INTERCEPT] if intercept else []
        bounds = [1.0] if intercept else []
        columns = features if block is None else (*features, block)
        fields = [feature.field for feature in columns if feature.field]
        self.context_fields: Mapping[str, Field] = _index_by_name(fields, "context")
        self.candidate_fields: Mapping[str, Field] = _index_by_name(fields, "candidate")
        self._context_steps: list[_ContextStep] = []
        self._candidate_steps: list[_CandidateStep] = []
        self._products: list[tuple[int, int, int, float]] = []
        self._open: tuple[slice, OpenEncoder] | None = None
        for feature in columns:
            start = len(labels)
            field, encode = feature.field, feature.encode
            if feature.open_columns:
                skipped = frozenset(self.context_fields), frozenset({*self.candidate_fields, CONTENT})
                encoder = OpenEncoder(feature.name, feature.open_columns, *skipped)
                self._open = slice(start, start + feature.open_columns), encoder
            if field and encode and field.source == "context":
                filled = slice(start, start + len(feature.labels))
                self._context_steps.append(
                    _ContextStep(field.name, field.default, filled, _build_value_encoder(encode, field))
                )
            elif field and encode:
                self._candidate_steps.append(_CandidateStep(field.name, field.default, start, encode))
            self._products += [(start + offset, *product) for offset, product in enumerate(feature.products)]
            labels += feature.labels
            bounds += feature.bounds
        self.labels = tuple(labels)
        self.dimension = len(labels)
        self.has_intercept = intercept
        self.is_open = self._open is not None
        self._blank_row = [1.0] * intercept + [0.0] * (self.dimension - intercept)
        self.block_count = 0 if block is None else len(block.block_labels)
        self.weight_count = self.dimension - (block is not None)
        self.shape = (self.weight_count,) if block is None else (self.block_count, self.weight_count)
        weights = self.labels[: self.weight_count]
        self.weight_labels = (
            weights if block is None else tuple(f"{each}:{label}" for each in block.block_labels for label in weights)
        )
        self._unbounded = not all(bound <= MAX_MAGNITUDE for bound in bounds)

    def __repr__(self) -> str:
        return f"FeatureSchema({self.name!r}, version={self.version}, hash={self.hash!r})"

    @classmethod
    def parse(cls, name: str, definition: Mapping[str, object]) -> Self:
        """Read a definition: ``version``, ``intercept``, ``features``, ``block``, as ``defaults.toml`` explains them.

        Raises:
            ConfigurationError: names every fault of the definition, not only the first.
        """
        path = f"schemas.{name}"
        faults: list[FieldError] = []
        if not is_name(name):
            faults.append(FieldError(path, f"the name must match {NAME_PATTERN}"))
        table = DefinitionTable(definition, path, faults)
        version = table.read_integer("version", minimum=1, maximum=_MAX_VERSION)
        intercept = table.read_boolean("intercept", default=False)
        reader = FeatureReader(faults, intercept=intercept)
        for position, entry in enumerate(table.read_sequence("features")):
            reader.read(DefinitionTable(entry, f"{path}.features[{position}]", faults))
        entry = table.read_value(BLOCK)
        block = None if entry is None else reader.read_block(DefinitionTable(entry, f"{path}.{BLOCK}", faults))
        table.check_unknown_keys()
        if reader.dimension > MAX_COLUMNS:
            faults.append(FieldError(path, f"has {reader.dimension} columns; at most {MAX_COLUMNS} are allowed"))
        if faults:
            raise to_configuration_error(faults)
        return cls(name, version, reader.features, intercept=intercept, block=block)

    def encode(self, context: Mapping[str, object], candidates: Sequence[Mapping[str, object]]) -> FloatArray:
        """Encode K candidates' features under one context: x of shape (K, d), C-contiguous and read-only.

        A missing field takes its default. Values are taken to be validated against the fields (type, limits, finite);
        only a column without limits is checked again.

        Raises:
            InvalidRequestError: K·d exceeds 65,536, or |x| exceeds 10⁶ in a column without limits.
        """
        count = len(candidates)
        self._check_cell_count(count)
        if self._open is not None:
            alone: FloatArray = self._encode_open([context], candidates, (1, count))[0]
            return alone
        row = self._blank_row.copy()
        for name, default, columns, encode_one in self._context_steps:
            row[columns] = encode_one(context.get(name, default))
        cells = row * count
        self._fill_candidate_cells(cells, candidates)
        return self._pack(cells, count)

    def _pack(self, cells: list[float], count: int) -> FloatArray:
        x: FloatArray = np.ndarray((count, self.dimension), np.float64, pack(cells))
        if self._unbounded:
            self._check_magnitude(x)
        return x

    def encode_requests(
        self, contexts: Sequence[Mapping[str, object]], candidates: Sequence[Mapping[str, object]]
    ) -> FloatArray:
        """Encode n requests of K candidates each: x of shape (n, K, d), bit for bit what ``encode`` makes of each.

        Args:
            contexts: one for each request.
            candidates: n·K of them, one request's after the other's.

        Raises:
            InvalidRequestError: as ``encode``, for whichever.
        """
        if len(contexts) == 1:  # for which numpy's calls take longer than the work
            return self.encode(contexts[0], candidates)[None]
        shape = len(contexts), len(candidates) // len(contexts)
        self._check_cell_count(shape[1])
        if self._open is not None:
            return self._encode_open(contexts, candidates, shape)
        if shape[1] == 1 and shape[0] <= _FEW:
            return self._encode_single(contexts, candidates)
        return read_only(self._encode_fields(*self._read_fields(contexts, candidates), shape))

    def _encode_single(
        self, contexts: Sequence[Mapping[str, object]], candidates: Sequence[Mapping[str, object]]
    ) -> FloatArray:
        """Encode n requests of one candidate each: few numbers of each field, for which lists are quicker."""
        count, width = len(candidates), self.dimension
        cells = self._blank_row * count
        for name, default, columns, encode_one in self._context_steps:
            rows = [encode_one(context.get(name, default)) for context in contexts]
            for column, encoded in enumerate(zip(*rows, strict=True), columns.start):
                cells[column::width] = encoded
        self._fill_candidate_cells(cells, candidates)
        alone: FloatArray = self._pack(cells, count)[:, None]
        return alone

    def _encode_open(
        self,
        contexts: Sequence[Mapping[str, object]],
        candidates: Sequence[Mapping[str, object]],
        shape: tuple[int, int],
    ) -> FloatArray:
        """Encode n requests of K candidates, the candidates one request after the other: x of shape (n, K, d)."""
        assert self._open is not None  # noqa: S101 (whoever calls has looked)
        columns, encoder = self._open
        x, count = self._encode_fields(*self._read_fields(contexts, candidates), shape), shape[1]
        for number, context in enumerate(contexts):
            x[number, :, columns] = encoder.encode(context, candidates[number * count : (number + 1) * count])
        return read_only(x)

    def _read_fields(
        self, contexts: Sequence[Mapping[str, object]], candidates: Sequence[Mapping[str, object]]
    ) -> tuple[dict[str, list[object]], dict[str, list[object]]]:
        """Return the values of each field of contexts and of candidates, by its name."""
        return (
            {name: list_values(contexts, name, field.default) for name, field in self.context_fields.items()},
            {name: list_values(candidates, name, field.default) for name, field in self.candidate_fields.items()},
        )

    def _fill_candidate_cells(self, cells: list[float], candidates: Sequence[Mapping[str, object]]) -> None:
        """Fill what candidates and products say into rows that hold the context."""
        width = self.dimension
        for name, default, start, encode in self._candidate_steps:
            for column, encoded in enumerate(encode(list_values(candidates, name, default)), start):
                cells[column::width] = encoded
        for column, left, right, centre in self._products:
            pairs = zip(cells[left::width], cells[right::width], strict=True)
            cells[column::width] = [a * b - centre for a, b in pairs]

    def encode_columns(
        self,
        context: Mapping[str, Sequence[object]],
        candidates: Mapping[str, Sequence[object]],
        shape: tuple[int, int],
    ) -> FloatArray:
        """Encode n requests of K candidates each, given by field: x of shape (n, K, d).

        Bit for bit what ``encode`` makes of them one by one, at a fifth of its time: for logs and simulations.

        Args:
            context: n values of each field; a missing field takes its default everywhere. An open schema reads all
                that is given.
            candidates: n·K values of each field, request by request.
            shape: (n, K).

        Raises:
            InvalidRequestError: as ``encode``.
        """
        requests, count = shape
        self._check_cell_count(count)
        if self._open is not None:
            whole = _transpose_columns(context, requests), _transpose_columns(candidates, requests * count)
            return self._encode_open(*whole, shape)
        return read_only(self._encode_fields(context, candidates, shape))

    def _encode_fields(
        self,
        context: Mapping[str, Sequence[object]],
        candidates: Mapping[str, Sequence[object]],
        shape: tuple[int, int],
    ) -> FloatArray:
        """Return what :meth:`encode_columns` does, with zeros in an open feature's columns."""
        requests, count = shape
        rows: FloatArray = np.empty((requests, self.dimension))
        rows[:] = self._blank_row
        for name, default, columns, encode_one in self._context_steps:
            rows[:, columns] = [encode_one(value) for value in context.get(name, [default] * requests)]
        x: FloatArray = np.empty((requests, count, self.dimension))
        x[:] = rows[:, None]
        cells = x.reshape(requests * count, self.dimension)
        for name, default, start, encode in self._candidate_steps:
            values = list(candidates.get(name, [default] * len(cells)))
            for column, encoded in enumerate(encode_arrays(encode, values), start):
                cells[:, column] = encoded
        for column, left, right, centre in self._products:
            cells[:, column] = cells[:, left] * cells[:, right] - centre
        if self._unbounded:
            self._check_magnitude(cells)
        return x

    def read_candidates(self, candidates: Sequence[Mapping[str, Any]]) -> list[Mapping[str, object]]:
        """Return the raw values of candidates, as :meth:`encode` takes them; see :func:`read_features`."""
        if CONTENT in self.candidate_fields:
            return [read_features(candidate) for candidate in candidates]
        return list_values(candidates, "features", _NO_FEATURES)

    def raw_values(self, context: Mapping[str, object], features: Mapping[str, object]) -> dict[str, object]:
        """Return the raw values behind one row of x by field name, defaults filled in and nothing else.

        Of an open schema all that the context and the candidate have.
        """
        values = {**features, **context} if self.is_open else {}
        values |= {name: context.get(name, field.default) for name, field in self.context_fields.items()}
        values.update((name, features.get(name, field.default)) for name, field in self.candidate_fields.items())
        return values

    def list_parts(self, context: Mapping[str, object], candidate: Mapping[str, object]) -> list[NamedPart]:
        """Return what the row of one candidate is made of: its parts, which add up to x by column.

        Of most columns one part by its label; of an open feature's, one for each token and each pair of tokens.
        """
        row = self.encode(context, [candidate])[0, : self.weight_count].tolist()
        columns, encoder = (slice(0), None) if self._open is None else self._open
        taken = range(*columns.indices(len(row)))
        parts = [
            NamedPart(label, column, value)
            for column, (label, value) in enumerate(zip(self.labels, row, strict=False))
            if column not in taken
        ]
        if encoder is not None:
            parts += [
                part._replace(column=part.column + columns.start) for part in encoder.list_parts(context, candidate)
            ]
        return parts

    def count_tokens(self) -> TokenCounts | None:
        """Return how the tokens of an open feature met its columns in this process; None if there is none."""
        return None if self._open is None else self._open[1].count_tokens()

    def _check_cell_count(self, count: int) -> None:
        if count * self.dimension > MAX_CELLS:
            most = MAX_CELLS // self.dimension
            error = FieldError("candidates", f"at most {most} with the {self.dimension} columns of schema {self.name}")
            raise InvalidRequestError("Too many candidates for this feature schema.", [error])

    def _check_magnitude(self, x: FloatArray) -> None:
        magnitudes = np.abs(x[:, : self.weight_count])
        if np.maximum.reduce(magnitudes, axis=None, initial=0.0) <= MAX_MAGNITUDE:  # not where one is NaN
            return
        within = np.logical_and.reduce(magnitudes <= MAX_MAGNITUDE, axis=0)
        at_fault = [label for label, fine in zip(self.labels, within, strict=False) if not fine]
        if at_fault:
            errors = [FieldError(label, f"encodes to more than {MAX_MAGNITUDE:g}") for label in at_fault]
            raise InvalidRequestError("A feature is too large to learn from.", errors)


def read_features(candidate: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the raw values of one candidate by field: its features, and its ``content`` if none is called so."""
    features: Mapping[str, object] = candidate.get("features", _NO_FEATURES)
    if CONTENT in features or CONTENT not in candidate:
        return features
    return {CONTENT: candidate[CONTENT], **features}


def _build_value_encoder(encode: Encoder, field: Field) -> Callable[[Any], tuple[float, ...]]:
    """Encode one value at a time, remembering: a context is an hour, a weekday, a country, over and over."""

    def encode_one(value: object) -> tuple[float, ...]:
        return tuple(cell for (cell,) in encode([value]))

    return encode_one if field.type == "vector" else lru_cache(_REMEMBERED_VALUES, typed=True)(encode_one)


def _transpose_columns(columns: Mapping[str, Sequence[object]], count: int) -> list[Mapping[str, object]]:
    if not columns:
        return [_NO_FEATURES] * count
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _index_by_name(fields: Sequence[Field], source: Source) -> Mapping[str, Field]:
    return MappingProxyType({field.name: field for field in fields if field.source == source})
