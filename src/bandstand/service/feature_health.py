"""Feature health: what callers send and nobody reads, what a schema reads and nobody sends, what never differs.

Counted in memory since the start of the process. The first requests are all looked at; of later ones, a sample
represents the rest. Names are the callers' own, so only so many are kept, and only those that look like names.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.features import CONTENT, FeatureSchema, Field, read_features
from bandstand.bandit.policies import Policy

Location = Literal["request", "context", "candidate", "features", "reward features"]

_ALL_UNTIL = 1000
_STEP = 64
_MAX_NAMES = 100
_MAX_SHAPES = 512
_MIN_REQUESTS = 20
"""Before something is said to be missing, or always the same."""
_SHARE_ALIKE = 0.95
_MIN_OPEN_REQUESTS = 200
_SHARE_UNSEEN = 0.2
_NAME = re.compile(r"[A-Za-z_][\w.\-]{0,63}", re.ASCII)
_OTHER = "(other)"
_REQUEST_NAMES = frozenset({"user_id", "candidates", "context", "decision_id", "ranking", "exclude", "defer", "slots"})
_CANDIDATE_NAMES = frozenset({"id", "content", "source", "source_id", "features"})
_CLOSE = 0.75
_MIN_LETTERS = 4
_VARIES = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadField:
    """Something that callers send and no schema reads.

    Attributes:
        count: how many times it came: with how many requests, or candidates.
        sentence: what to make of it.
    """

    where: Location
    name: str
    count: int
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadField:
    """A field that a policy's schema reads.

    Attributes:
        where: ``context`` or ``features``.
        share: of the requests, or candidates, that came with it.
        is_constant: it had one value only, the default where it did not come.
    """

    policy: str
    where: str
    name: str
    share: float
    is_constant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContrast:
    """In how many of the requests with several candidates a policy could not tell them apart."""

    policy: str
    requests: int
    alike: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenHealth:
    """How the values of a policy's open feature met its columns.

    Attributes:
        met: values, however often, of every request.
        unseen: of them, those that had not been met before.
        distinct: different values that are remembered.
        colliding: remembered values that share their column with another one of their side.
    """

    policy: str
    met: int
    unseen: int
    distinct: int
    columns: int
    colliding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureReport:
    """What came since the start.

    Attributes:
        requests: how many came.
        looked_at: how many of these were looked at.
        warnings: what is off, in sentences.
    """

    requests: int
    looked_at: int
    unread: Sequence[UnreadField]
    fields: Sequence[ReadField]
    contrasts: Sequence[PolicyContrast]
    tokens: Sequence[TokenHealth]
    warnings: Sequence[str]


@dataclass(slots=True)
class _PolicyCounts:
    """What a policy's schema found."""

    schema: FeatureSchema
    requests: int = 0
    candidates: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    values: dict[str, object] = field(default_factory=dict)
    contrasted: int = 0
    alike: int = 0


class FeatureHealth:
    """Looks at requests as they were sent.

    Args:
        catalogue: whose fields are read.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._known: dict[Location, frozenset[str]] = {
            "request": _REQUEST_NAMES,
            "context": frozenset(catalogue.context_fields),
            "candidate": _CANDIDATE_NAMES,
            "features": frozenset({**catalogue.context_fields, **catalogue.candidate_fields}),
        }
        self._known["reward features"] = self._known["features"]
        # An open schema reads whatever there is.
        self._all_read = frozenset[Location](("context", "features", "reward features") if catalogue.is_open else ())
        self._places = dict.fromkeys(catalogue.context_fields, "context") | dict.fromkeys(
            catalogue.candidate_fields, "features"
        )
        self._policies: dict[str, _PolicyCounts] = {}
        self._unread: Counter[tuple[Location, str]] = Counter()
        self._shapes: dict[tuple[Location, tuple[str, ...]], tuple[str, ...]] = {}
        self.requests = self.looked_at = self._rewards = 0

    def observe(self, policy: Policy, read_request: Callable[[], Mapping[str, Any]]) -> None:
        """Count a request to score, if it is one of those that are looked at.

        Args:
            policy: who decided.
            read_request: the request as it was sent, which takes some microseconds.
        """
        if self.takes_next():
            self.look_at(policy, read_request())

    def takes_next(self) -> bool:
        """Count a request to score; returns whether it is one of those that are looked at."""
        self.requests += 1
        return self.requests <= _ALL_UNTIL or not self.requests % _STEP

    def look_at(self, policy: Policy, request: Mapping[str, Any]) -> None:
        """Count what is in the request that was counted last.

        Args:
            policy: who decided.
            request: as it was sent.
        """
        self._count(policy, request, 1 if self.requests <= _ALL_UNTIL else _STEP)

    def observe_reward(self, read_request: Callable[[], Mapping[str, Any]]) -> None:
        """Count the features of a reward in the legacy form, if it is one of those that are looked at."""
        self._rewards += 1
        if self._rewards <= _ALL_UNTIL:
            self._count_unread("reward features", read_request()["features"], 1)
        elif not self._rewards % _STEP:
            self._count_unread("reward features", read_request()["features"], _STEP)

    def _count(self, policy: Policy, request: Mapping[str, Any], weight: int) -> None:
        self.looked_at += 1
        counts = self._policies.get(policy.name)
        if counts is None or counts.schema is not policy.schema:
            counts = self._policies[policy.name] = _PolicyCounts(policy.schema)
        candidates, context = request["candidates"], request.get("context") or {}
        features = [candidate.get("features") or {} for candidate in candidates]
        self._count_unread("request", request, weight)
        self._count_unread("context", context, weight)
        for candidate, given in zip(candidates, features, strict=True):
            self._count_unread("candidate", candidate, weight)
            self._count_unread("features", given, weight)
        counts.requests += weight
        counts.candidates += weight * len(candidates)
        _count_sent(counts, policy.schema.context_fields, [context], weight)
        read: Sequence[Mapping[str, Any]] = features
        if CONTENT in policy.schema.candidate_fields:
            read = [read_features({**each, "features": of}) for each, of in zip(candidates, features, strict=True)]
        _count_sent(counts, policy.schema.candidate_fields, read, weight)
        if len(candidates) > 1:
            names: Collection[str] = policy.schema.candidate_fields
            if policy.schema.is_open:  # which reads all of them
                names = dict.fromkeys(name for each in read for name in each)
            first = [read[0].get(name) for name in names]
            counts.contrasted += weight
            counts.alike += weight * all([each.get(name) for name in names] == first for each in read[1:])

    def _count_unread(self, where: Location, given: Mapping[str, Any], weight: int) -> None:
        shape = (where, tuple(given))
        unread = self._shapes.get(shape)
        if unread is None:
            unread = tuple(name for name in given if name not in self._known[where] and where not in self._all_read)
            if len(self._shapes) < _MAX_SHAPES:
                self._shapes[shape] = unread
        for name in unread:
            key = (where, name if _NAME.fullmatch(name) else _OTHER)
            if key not in self._unread and len(self._unread) >= _MAX_NAMES:
                key = (where, _OTHER)
            self._unread[key] += weight

    def merge(self, other: "FeatureHealth") -> None:
        """Take in what another process has counted, of the same catalogue.

        Which names are kept if there are too many, who was looked at, and how open features met their columns, is each
        process's own.
        """
        self.requests += other.requests
        self.looked_at += other.looked_at
        self._rewards += other._rewards
        for key, count in other._unread.items():
            is_new = key not in self._unread and len(self._unread) >= _MAX_NAMES
            self._unread[(key[0], _OTHER) if is_new else key] += count
        for name, theirs in other._policies.items():
            ours = self._policies.setdefault(name, _PolicyCounts(theirs.schema))
            ours.requests += theirs.requests
            ours.candidates += theirs.candidates
            ours.sent.update(theirs.sent)
            ours.contrasted += theirs.contrasted
            ours.alike += theirs.alike
            for field_name, value in theirs.values.items():
                if ours.values.setdefault(field_name, value) != value:
                    ours.values[field_name] = _VARIES

    def build_report(self) -> FeatureReport:
        """What came so far, and what is off."""
        unread = [
            UnreadField(where=where, name=name, count=count, sentence=self._describe_unread(where, name, count))
            for (where, name), count in self._unread.most_common()
        ]
        fields = [each for name, counts in sorted(self._policies.items()) for each in _list_fields(name, counts)]
        contrasts = [
            PolicyContrast(policy=name, requests=counts.contrasted, alike=counts.alike)
            for name, counts in sorted(self._policies.items())
        ]
        tokens = [each for name, counts in sorted(self._policies.items()) for each in _list_tokens(name, counts)]
        warnings = [each.sentence for each in unread if each.where != "request"]
        for name, counts in sorted(self._policies.items()):
            warnings += _describe_policy(name, counts)
        warnings += [
            f"{each.unseen:,} of the {each.met:,} values that {each.policy} met had never been met before: what is "
            "another in each request, such as an id or a time, teaches nothing."
            for each in tokens
            if self._policies[each.policy].requests >= _MIN_OPEN_REQUESTS and each.unseen >= _SHARE_UNSEEN * each.met
        ]
        return FeatureReport(
            requests=self.requests,
            looked_at=self.looked_at,
            unread=unread,
            fields=fields,
            contrasts=contrasts,
            tokens=tokens,
            warnings=warnings,
        )

    def _describe_unread(self, where: Location, name: str, count: int) -> str:
        of = {"request": "request", "context": "request", "reward features": "reward"}.get(where, "candidate")
        came = f"`{name}` came with {count:,} {of}{'' if count == 1 else 's'}"
        beside = {"request": "", "candidate": ", beside its `features`,"}.get(where, f", in its `{where.split()[-1]}`,")
        said = f"{came}{beside} and is read by {'nobody' if where == 'request' else 'no schema'}"
        place = self._places.get(name)
        if place is not None:
            return f"{said}; it belongs in the `{place}`{' of each candidate' * (place == 'features')}."
        meant = _find_meant(name, self._places)
        return f"{said}; did you mean `{meant}`?" if meant else f"{said}."


def _count_sent(
    counts: _PolicyCounts, fields: Mapping[str, Field], given: Sequence[Mapping[str, Any]], weight: int
) -> None:
    for name, known in fields.items():
        for values in given:
            value = values.get(name)
            if value is None:
                value = known.default
            else:
                counts.sent[name] += weight
            if counts.values.setdefault(name, value) != value:
                counts.values[name] = _VARIES


def _list_fields(policy: str, counts: _PolicyCounts) -> list[ReadField]:
    parts = (
        ("context", counts.schema.context_fields, counts.requests),
        ("features", counts.schema.candidate_fields, counts.candidates),
    )
    return [
        ReadField(
            policy=policy,
            where=where,
            name=name,
            share=counts.sent[name] / of if of else 0.0,
            is_constant=counts.values.get(name) is not _VARIES,
        )
        for where, fields, of in parts
        for name in fields
    ]


def _list_tokens(policy: str, counts: _PolicyCounts) -> list[TokenHealth]:
    found = counts.schema.count_tokens()
    if found is None:
        return []
    return [
        TokenHealth(
            policy=policy,
            met=found.met,
            unseen=found.unseen,
            distinct=found.distinct,
            columns=found.columns,
            colliding=found.colliding,
        )
    ]


def _describe_policy(policy: str, counts: _PolicyCounts) -> list[str]:
    """Warnings about the fields that a policy reads, once there are enough requests to judge by."""
    if counts.requests < _MIN_REQUESTS:
        return []
    sentences = []
    for each in _list_fields(policy, counts):
        of = f"{counts.candidates:,} candidates" if each.where == "features" else f"{counts.requests:,} requests"
        if not each.share:
            sentences.append(f"{policy} reads `{each.name}` from `{each.where}`, and none of {of} came with it.")
        elif each.is_constant and each.where == "features" and each.name != CONTENT:
            value = counts.values[each.name]
            sentences.append(f"`{each.name}` was {value!r} in all of {of}: {policy} can learn nothing from it.")
    if counts.contrasted >= _MIN_REQUESTS and counts.alike >= _SHARE_ALIKE * counts.contrasted:
        sentences.append(
            f"{policy} could not tell the candidates apart in {counts.alike:,} of {counts.contrasted:,} requests: "
            "what it reads of them was the same, so its pick was chance."
        )
    return sentences


def _find_meant(name: str, known: Mapping[str, str]) -> str | None:
    """The known field that an unknown name probably means: spelt alike, or the only one that contains it."""
    by_letters = {_to_letters(each): each for each in known}
    letters = _to_letters(name)
    close = difflib.get_close_matches(letters, by_letters, n=1, cutoff=_CLOSE)
    if not close and len(letters) >= _MIN_LETTERS:
        close = [each for each in by_letters if letters in each]
    return by_letters[close[0]] if len(close) == 1 else None


def _to_letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
