"""Whether the candidates of a log have anything that a schema reads: where they have not, all of them look alike."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Self

from bandstand.bandit.features import FeatureSchema
from bandstand.evaluate.policy_replay.requests import LoggedRequest

_MAX_NAMED = 8


class FeatureCoverage:
    """Watches the requests of a log until each schema has met a field of its own.

    Args:
        schemas: by name.
    """

    def __init__(self, schemas: Mapping[str, FeatureSchema]) -> None:
        self._unmet: dict[str, Mapping[str, object]] = {
            name: schema.candidate_fields for name, schema in schemas.items() if schema.candidate_fields
        }
        self._sent: dict[str, None] = {}

    def add(self, requests: Iterable[LoggedRequest]) -> None:
        """Look at requests; it costs nothing once every schema has met a field."""
        for request in requests:
            if not self._unmet:
                return
            sent = dict.fromkeys(chain.from_iterable(request.features))
            if len(self._sent) < _MAX_NAMED:
                self._sent |= sent
            self._unmet = {name: fields for name, fields in self._unmet.items() if not fields.keys() & sent.keys()}

    def merge(self, later: "FeatureCoverage") -> None:
        """Take in what the same watch has met in the part of the log that follows."""
        self._unmet = {name: fields for name, fields in self._unmet.items() if name in later._unmet}
        self._sent |= later._sent

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"unmet": {name: list(fields) for name, fields in self._unmet.items()}, "sent": list(self._sent)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back, to merge and to describe."""
        coverage = cls({})
        coverage._unmet = {name: dict.fromkeys(fields) for name, fields in document["unmet"].items()}
        coverage._sent = dict.fromkeys(document["sent"])
        return coverage

    def describe_lack(self, schema: str) -> str | None:
        """Say that no candidate had a field that this schema reads; None if one had, or it reads none."""
        fields = self._unmet.get(schema)
        if fields is None:
            return None
        sent = ", ".join(list(self._sent)[:_MAX_NAMED]) or "none"
        return (
            f"no candidate of the log has a field that the schema {schema} reads ({', '.join(fields)}), so the "
            f"policy cannot tell them apart; their features are {sent}"
        )
