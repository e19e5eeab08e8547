"""What a loop makes of the rewards that come for its decisions, as data."""

from dataclasses import dataclass
from typing import Self

from bandstand.definition import DefinitionTable
from bandstand.errors import FieldError


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSettings:
    """How rewards count in a loop; as made here, they count as the contract has it: the first one, for ever."""

    @classmethod
    def parse(cls, entries: object, path: str, faults: list[FieldError]) -> Self:
        """Read a table; faults are noted, and reading goes on.

        Args:
            entries: the table.
            path: where it stands, such as ``rewards``.
            faults: the list every fault is appended to.
        """
        DefinitionTable(entries, path, faults).check_unknown_keys()
        return cls()

    def to_document(self) -> dict[str, object]:
        """The table of which :meth:`parse` makes an equal value; what is as it is by default is left out."""
        return {}
