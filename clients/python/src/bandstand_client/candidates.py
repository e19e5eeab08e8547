"""What a product offers: its own objects, and how the service is told of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar


@dataclass(frozen=True)
class Candidate:
    """Something that a product may show.

    Attributes:
        id: what it is called in the log.
        content: its text; logged, not read by policies.
        source: where it comes from; logged.
        source_id: its id there.
        features: what the deployment's feature schema reads of a candidate.

    Example:
        >>> from bandstand_client import Candidate
        >>> tea = Candidate("tea", "Drink a cup of tea.", features={"priority": 2})
        >>> client.score("ada", [tea]).pick.content
        'Drink a cup of tea.'
    """

    id: str
    content: str = ""
    source: str = "product"
    source_id: str | None = None
    features: Mapping[str, Any] = field(default_factory=dict)


class HasId(Protocol):
    """An object of the product's own with an ``id``.

    Of ``content``, ``source``, ``source_id`` and ``features``, what it has is sent too.

    Example:
        >>> from types import SimpleNamespace
        >>> client.score("ada", [SimpleNamespace(id="tea", features={"priority": 2})]).pick.id
        'tea'
    """

    @property
    def id(self) -> str:
        """What the candidate is called in the log.

        Example:
            >>> Candidate("tea").id
            'tea'
        """


K = TypeVar("K", bound="str | Mapping[str, Any] | HasId")
C = TypeVar("C")

Encode = Callable[[C], Mapping[str, Any]]
"""Says what the service is to know of a candidate: the wire's fields, ``id`` at least."""


def encode_candidates(candidates: Sequence[Any], encode: Encode[Any] | None) -> list[dict[str, Any]]:
    """Encode candidates as the wire has them.

    Raises:
        TypeError: one of them is nothing that has an id; say with ``encode`` what it is.
    """
    return [_encode(candidate if encode is None else encode(candidate)) for candidate in candidates]


def find_first_eligible(candidates: Sequence[Any], encode: Encode[Any] | None, exclude: Sequence[str]) -> int:
    """The place of the first candidate that may be picked; 0 where none may, for the service to refuse.

    Raises:
        TypeError: one of them is nothing that has an id.
    """
    excluded = set(exclude)
    ids = [candidate["id"] for candidate in encode_candidates(candidates, encode)]
    return next((place for place, each in enumerate(ids) if each not in excluded), 0)


def _encode(candidate: Any) -> dict[str, Any]:
    if isinstance(candidate, str):
        return {"id": candidate, "content": candidate, "source": "product"}
    if isinstance(candidate, Mapping):
        fields = {"content": "", "source": "product", **candidate}
        if "id" not in fields:
            raise TypeError("a candidate needs an id")
    elif hasattr(candidate, "id"):
        fields = {
            "id": candidate.id,
            "content": getattr(candidate, "content", ""),
            "source": getattr(candidate, "source", "product"),
            "source_id": getattr(candidate, "source_id", None),
            "features": dict(getattr(candidate, "features", {})),
        }
    else:
        kind = type(candidate).__name__
        raise TypeError(f"a candidate is a string, a mapping or an object with an id, not a {kind}; or give encode=")
    fields["id"] = str(fields["id"])
    return fields
