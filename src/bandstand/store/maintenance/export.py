"""The form in which states travel: every user as one line of JSON, from the ledger, and read back with suspicion.

A line is the body of a state document and, under ``schemas``, the hash of each feature schema whose sums it holds: sums
made under one encoding mean nothing under another of the same name.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from bandstand.bandit.encoding import MAX_COLUMNS
from bandstand.bandit.profile import Profile
from bandstand.definition import NAME_PATTERN
from bandstand.store.maintenance.offline import OpenedDirectory, Tick, no_tick
from bandstand.store.tables import decisions
from bandstand.times import parse_time

UserId = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""A user's id as the wire takes it."""

Moment = Annotated[float, BeforeValidator(parse_time)]
"""A time however it is written, as seconds since the epoch."""

BOM = b"\xef\xbb\xbf"

_Name = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$")]
_READ_VALUES = ("last_updated", "half_life", "as_of", "since")
_Count = Annotated[int, Field(ge=0, lt=2**63)]


class ImportSource(NamedTuple):
    """One user's state to be imported, or the fault that it has.

    Attributes:
        location: the line or file it comes from, for a person.
        profile: the state; its ``seq`` is the event it was taken at, 0 where that is unknown.
        fault: what is wrong with it, where something is.
        schemas: hash of each feature schema, if the source has them.
    """

    location: str
    profile: Profile | None = None
    fault: str = ""
    schemas: Mapping[str, str] = {}


def export(state: OpenedDirectory, tick: Tick = no_tick) -> Iterator[str]:
    """One line of JSON for every user, as the ledger has the user now."""
    hashes = dict(state.connection.execute("SELECT name, hash FROM schemas"))
    for uid, user_id in state.iter_users():
        with state.snapshot():
            if decisions.find_uid(state.connection, user_id) != uid:
                continue  # erased since the page was read
            profile = state.rebuild_profile(uid, user_id)
        yield render_line(profile, hashes)
        tick()


def render_line(profile: Profile, hashes: Mapping[str, str]) -> str:
    """A user's state as a line of JSON.

    Args:
        profile: the state.
        hashes: of each feature schema that sums are kept under.
    """
    schemas = {schema: hashes[schema] for _, schema in profile.policies if schema in hashes}
    return json.dumps(profile.to_json() | {"schemas": schemas}, separators=(",", ":"), allow_nan=False)


def read_lines(lines: Iterable[bytes]) -> Iterator[ImportSource]:
    """Read exported lines; an empty one is skipped."""
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(BOM) if number == 1 else line
        if text.strip():
            location = f"line {number}"
            try:
                read = _ExportedLine.model_validate_json(text)
                profile = _to_profile(json.loads(text), read)
            except ValidationError as error:
                yield ImportSource(location, fault=describe_error(error))
            except (ValueError, RecursionError) as error:
                yield ImportSource(location, fault=f"is not a state: {error}")
            else:
                yield ImportSource(location, profile, schemas=read.schemas)


def _to_profile(document: dict[str, Any], read: "_ExportedLine") -> Profile:
    for name, state in read.policies.items():
        document["policies"][name] |= {key: getattr(state, key) for key in _READ_VALUES}
    return Profile.from_json(document)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class _Ridge(_Part):
    gram: list[float]
    b: Annotated[list[float], Field(min_length=1, max_length=MAX_COLUMNS)]
    rr: Annotated[float, Field(ge=0)] | None
    weight: Annotated[float, Field(ge=0)]
    count: _Count

    @model_validator(mode="after")
    def _check_fit(self) -> Self:
        d = len(self.b)
        if len(self.gram) != d * (d + 1) // 2:
            raise ValueError(f"gram of {len(self.gram)} numbers does not fit b of {d}")
        return self


class _State(_Part):
    policy: _Name
    schema_name: Annotated[_Name, Field(alias="schema")]
    ridge: _Ridge | None
    pulls: _Count
    explores: _Count
    reward_count: _Count
    cumulative_reward: float
    last_updated: Moment | None
    half_life: Annotated[float, Field(ge=0)] = 0.0
    as_of: Moment = 0.0
    since: Moment = 0.0


class _ExportedLine(_Part):
    version: int
    user_id: UserId
    ledger_seq: _Count
    reset_seq: _Count
    policies: dict[str, _State]
    schemas: dict[_Name, str] = {}

    @model_validator(mode="after")
    def _check_unique_states(self) -> Self:
        if len({(state.policy, state.schema_name) for state in self.policies.values()}) < len(self.policies):
            raise ValueError("a policy has two states over one schema")
        return self


def describe_error(error: ValidationError) -> str:
    """The first fault of a document in words, without the document's own."""
    first, *more = error.errors(include_url=False, include_context=False, include_input=False)
    location = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return (f"{location}: " if location else "") + message + (f" (and {len(more)} more)" if more else "")
