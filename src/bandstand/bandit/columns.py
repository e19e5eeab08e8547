"""One feature of a schema, read from its definition: the field it takes and the columns it makes."""

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from bandstand.bandit.encoding import ENCODINGS, MAX_COLUMNS, BlockEncoding, Vector
from bandstand.bandit.encoding_base import Encoder, Encoding, FieldType
from bandstand.definition import DefinitionTable, describe_unknown, is_integer, is_number
from bandstand.errors import FieldError

MAX_MAGNITUDE = 1e6
"""Largest |x| a model may be taught: beyond it the sums of squares swallow the ridge's 1."""

Source = Literal["context", "candidate"]
RawValue = int | float | bool | str | tuple[float, ...]

INTERCEPT = "intercept"
BLOCK = "block"
OTHER = "other"
OPEN = "open"

_OPEN_COLUMNS = 127

_MAX_WEIGHTS = 1 << 18  # numbers in the sums of one user: 2 MB
_INTERACTION = "interaction"
_FEATURE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SOURCE = re.compile(r"(context|candidate)\.([A-Za-z_][A-Za-z0-9_]{0,63})")
_LARGEST_FLOAT = sys.float_info.max
_RAW_TYPES: dict[FieldType, frozenset[type]] = {
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "boolean": frozenset({bool}),
    "string": frozenset({str}),
    "vector": frozenset({list, tuple}),
}
_IMPLIED_DEFAULTS: dict[FieldType, RawValue] = {"integer": 0, "number": 0.0, "boolean": False, "string": ""}
_NUMERIC = frozenset({"integer", "number", "vector"})


@dataclass(frozen=True)
class Field:
    """One raw value a schema reads: what request validation and OpenAPI need to know of it.

    Args:
        name: its key in the context or in a candidate's features.
        source: which of the two it is read from.
        type: ``integer``, ``number``, ``boolean``, ``string`` or ``vector``, a list of numbers.
        default: the value of a field that is missing.
        minimum: least value allowed, of a vector of each number; None for no limit.
        maximum: greatest value allowed, likewise.
        length: how many numbers a vector has; None of the others.
    """

    name: str
    source: Source
    type: FieldType
    default: RawValue
    minimum: float | None = None
    maximum: float | None = None
    length: int | None = None

    def is_valid(self, value: object) -> bool:
        """Whether a raw value is one of its type and within its limits."""
        return self.are_valid((value,))

    def are_valid(self, values: Sequence[Any]) -> bool:
        """Whether all raw values are: of its type, where they are numbers also finite, and within its limits."""
        if not _RAW_TYPES[self.type].issuperset(map(type, values)):
            return False
        if self.type == "vector":
            numbers = [number for value in values for number in value]
            alike = all(len(value) == self.length for value in values)
            return alike and replace(self, type="number").are_valid(numbers)
        if self.type not in _NUMERIC:
            return True
        low = -_LARGEST_FLOAT if self.minimum is None else self.minimum
        high = _LARGEST_FLOAT if self.maximum is None else self.maximum
        return all(low <= value <= high for value in values)  # NaN is not between any two


class Feature(NamedTuple):
    """One entry of a schema's ``features``, read.

    Args:
        name: what it is called.
        labels: one for each of its columns.
        bounds: the largest |x| of each column, infinite where the field has no limits.
        definition: the entry with every default spelled out, as JSON values.
        field: the raw value it encodes; None for an interaction.
        encode: from a list of raw values to the columns; None for an interaction.
        products: of an interaction, for each column the two earlier columns multiplied and the centre.
        block_labels: for the column that names the block, a label for each block.
        open_columns: for an open feature, how many columns the otherwise unread fields of the context and of a
            candidate fill.
    """

    name: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    definition: dict[str, object]
    field: Field | None = None
    encode: Encoder | None = None
    products: tuple[tuple[int, int, float], ...] = ()
    block_labels: tuple[str, ...] = ()
    open_columns: int = 0


class FeatureReader:
    """Reads features in order, knowing the columns before each."""

    def __init__(self, faults: list[FieldError], *, intercept: bool) -> None:
        self.features: list[Feature] = []
        self._faults = faults
        self._fields: dict[str, Field] = {}
        # Column numbers by feature name and by label: what an interaction may name.
        self._columns: dict[str, tuple[int, ...]] = {INTERCEPT: (0,)} if intercept else {}
        self._labels: list[str] = [INTERCEPT] if intercept else []
        self._bounds: list[float] = [1.0] if intercept else []

    @property
    def dimension(self) -> int:
        """Columns so far."""
        return len(self._labels)

    def read(self, table: DefinitionTable) -> None:
        """Read one feature and add its columns."""
        before = len(self._faults)
        name = table.read_text("name") or table.path
        if name != table.path and not _FEATURE_NAME.fullmatch(name):
            table.add_fault("name", f"must match {_FEATURE_NAME.pattern}")
        kind = table.read_text("encoding", choices=(*ENCODINGS, _INTERACTION, OPEN))
        if not kind:
            return
        if kind == OPEN:
            feature = self._read_open(table, name)
        elif kind == _INTERACTION:
            feature = self._read_interaction(table, name)
        else:
            feature = self._read_encoded(table, name, kind)
        table.check_unknown_keys()
        self._require_new(table, feature)
        start = self.dimension
        self._labels += feature.labels
        self._bounds += feature.bounds
        # An open feature's columns are taken names, and nothing that an interaction could multiply.
        columns = () if feature.open_columns else tuple(range(start, start + len(feature.labels)))
        self._columns |= {label: columns[offset : offset + 1] for offset, label in enumerate(feature.labels)}
        self._columns[name] = columns
        if len(self._faults) == before:
            self.features.append(feature)

    def read_block(self, table: DefinitionTable) -> Feature:
        """Read the field that names a schema's blocks: a column of its own, the last one."""
        encoding = BlockEncoding.parse(table)
        field = self._read_field(table, encoding.field_types())
        table.check_unknown_keys()
        if encoding.block_count * self.dimension**2 > _MAX_WEIGHTS:
            table.add_fault(
                "values", f"{encoding.block_count} blocks of {self.dimension}² sums are more than {_MAX_WEIGHTS:,}"
            )
        definition = _to_definition(field, encoding)
        labels = (*(str(value) for value in encoding.values), OTHER)
        feature = Feature(
            BLOCK, (BLOCK,), (1.0,), definition, field, encoding.build_encoder((0.0,), BLOCK), block_labels=labels
        )
        self._require_new(table, feature)
        return feature

    def _read_encoded(self, table: DefinitionTable, name: str, kind: str) -> Feature:
        encoding = ENCODINGS[kind].parse(table)
        field = self._read_field(
            table, encoding.field_types(), encoding.length if isinstance(encoding, Vector) else None
        )
        labels, centre = _read_columns(table, [name + suffix for suffix in encoding.label_suffixes()])
        limits = (
            -math.inf if field.minimum is None else field.minimum,
            math.inf if field.maximum is None else field.maximum,
        )
        bounds = tuple(encoding.compute_bound(*limits) + abs(shift) for shift in centre)
        definition = {
            "name": name,
            "encoding": kind,
            **_to_definition(field, encoding),
            "labels": list(labels),
            "centre": list(centre),
        }
        return Feature(name, labels, bounds, definition, field, encoding.build_encoder(centre, name))

    def _read_open(self, table: DefinitionTable, name: str) -> Feature:
        """Read what takes all that no other feature of the schema reads."""
        if any(feature.open_columns for feature in self.features):
            table.add_fault("encoding", "is open a second time; one takes everything")
        columns = _OPEN_COLUMNS
        if table.read_value("columns") is not None:
            columns = table.read_integer("columns", minimum=2, maximum=MAX_COLUMNS)
        labels = tuple(f"{name}~{column}" for column in range(columns))
        definition: dict[str, object] = {"name": name, "encoding": OPEN, "columns": columns}
        return Feature(name, labels, (1.0,) * columns, definition, open_columns=columns)

    def _read_interaction(self, table: DefinitionTable, name: str) -> Feature:
        of = table.read_texts("of") or ()
        if len(of) != 2:  # noqa: PLR2004, a product of two
            table.add_fault("of", "must name two different earlier features or columns")
            of = ()
        for part in of:
            if part not in self._columns:
                table.add_fault(
                    "of", f"{describe_unknown(part, self._columns)} (only earlier features and columns can be named)"
                )
            elif not self._columns[part]:
                table.add_fault("of", f"{part} is open, and multiplies context and candidate by itself")
        left, right = (self._columns.get(part, ()) for part in of) if of else ((), ())
        pairs = [(a, b) for a in left for b in right]
        labels, centre = _read_columns(table, [f"{self._labels[a]}:{self._labels[b]}" for a, b in pairs])
        bounds = tuple(
            self._bounds[a] * self._bounds[b] + abs(shift) for (a, b), shift in zip(pairs, centre, strict=True)
        )
        definition: dict[str, object] = {
            "name": name,
            "encoding": _INTERACTION,
            "of": list(of),
            "labels": list(labels),
            "centre": list(centre),
        }
        products = tuple((a, b, shift) for (a, b), shift in zip(pairs, centre, strict=True))
        return Feature(name, labels, bounds, definition, products=products)

    def _read_field(self, table: DefinitionTable, types: Sequence[FieldType], length: int | None = None) -> Field:
        """Read which field is meant; all features of one field must agree about it."""
        source = table.read_text("source")
        match = _SOURCE.fullmatch(source)
        if source and not match:
            table.add_fault("source", "must be context.NAME or candidate.NAME")
        chosen = table.read_text("type", types[0], types)
        kind = next(kind for kind in types if kind == chosen)
        default = _read_vector(table, length) if length else _read_raw_value(table, "default", kind)
        limit_kind: FieldType = "number" if kind == "vector" else kind
        limits = [_read_raw_value(table, key, limit_kind) for key in ("minimum", "maximum")] if kind in _NUMERIC else []
        minimum, maximum = (limit if is_number(limit) else None for limit in limits or (None, None))
        field = Field(
            name=match[2] if match else "",
            source="candidate" if match and match[1] == "candidate" else "context",
            type=kind,
            default=_IMPLIED_DEFAULTS[kind] if default is None else default,
            minimum=minimum,
            maximum=maximum,
            length=length,
        )
        if kind in _NUMERIC and not field.is_valid(field.default):
            table.add_fault("default", "must lie within minimum and maximum")
        known = self._fields.setdefault(field.name, field) if match else field
        if known.source != field.source:
            table.add_fault(
                "source", f"{field.name} is already read from the {known.source}; give one of them another name"
            )
        elif known != field:
            table.add_fault("source", f"an earlier feature gives {source} another type, default, minimum or maximum")
        return field

    def _require_new(self, table: DefinitionTable, feature: Feature) -> None:
        if feature.name in self._columns:
            table.add_fault("name", f"{feature.name!r} is taken by an earlier feature or column")
        for label in feature.labels:
            if label in self._columns:
                table.add_fault("labels", f"{label!r} is taken by an earlier feature or column")
        if any(MAX_MAGNITUDE < bound < math.inf for bound in feature.bounds):
            table.add_fault("encoding", f"can exceed {MAX_MAGNITUDE:g}; scale it down")


def _to_definition(field: Field, encoding: Encoding) -> dict[str, object]:
    """Return what a field and its encoding are, as JSON values."""
    return {
        "source": f"{field.source}.{field.name}",
        "type": field.type,
        "default": list(field.default) if isinstance(field.default, tuple) else field.default,
        **{key: getattr(field, key) for key in ("minimum", "maximum") if getattr(field, key) is not None},
        **encoding.options(),
    }


def _read_columns(table: DefinitionTable, implied: Sequence[str]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Read ``labels`` and ``centre`` for as many columns as are implied."""
    labels = table.read_texts("labels") or tuple(implied)
    if len(labels) != len(implied):
        table.add_fault("labels", f"must be {len(implied)} labels, one per column")
        labels = tuple(implied)
    centre = table.read_value("centre")
    if centre is None:
        return labels, (0.0,) * len(implied)
    if is_number(centre):
        return labels, (float(centre),) * len(implied)
    if isinstance(centre, list | tuple) and len(centre) == len(implied) and all(is_number(shift) for shift in centre):
        return labels, tuple(float(shift) for shift in centre)
    table.add_fault("centre", f"must be a finite number, or a list of {len(implied)}, one per column")
    return labels, (0.0,) * len(implied)


def _read_raw_value(table: DefinitionTable, key: str, kind: FieldType) -> RawValue | None:
    """Read an optional value of a field's own type."""
    value = table.read_value(key)
    if value is None:
        return None
    if kind == "number" and is_number(value):
        return float(value)
    if kind == "integer" and is_integer(value):
        return value
    if (kind == "boolean" and isinstance(value, bool)) or (kind == "string" and isinstance(value, str)):
        return value
    table.add_fault(key, f"must be of type {kind}")
    return None


def _read_vector(table: DefinitionTable, length: int) -> tuple[float, ...]:
    """Read the default of a vector: zeros if it is not given."""
    value = table.read_value("default")
    if value is None:
        return (0.0,) * length
    if isinstance(value, list | tuple) and len(value) == length and all(is_number(number) for number in value):
        return tuple(float(number) for number in value)
    table.add_fault("default", f"must be a list of {length} numbers")
    return (0.0,) * length
