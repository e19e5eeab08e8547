"""What changed, day by day."""

from typing import cast

from bandstand.console.changes import load_marks
from bandstand.service.context import ServiceContext
from bandstand.store.tables.console_queries import ConsoleSource, DefinitionRow
from bandstand.testing.memory_store import MemoryStore
from tests.store.populated import catalogue_of


class _Sight:
    """A ledger that knows of resets and definitions alone."""

    async def count_resets(self) -> dict[int, int]:
        return {3: 1, 5: 2}

    async def list_definitions(self, days: int) -> list[DefinitionRow]:
        assert days
        return [
            DefinitionRow("a", "tips-v2", "s1", "p1", 1),
            DefinitionRow("b", "tips-v2", "s1", "q1", 1),
            DefinitionRow("a", "tips-v2", "s2", "p2", 4),
            DefinitionRow("b", "tips-v2", "s1", "q2", 6),
        ]


async def test_definitions_that_change_are_marked_on_the_day_from_which_on_they_count() -> None:
    catalogue = catalogue_of()
    marks = await load_marks(ServiceContext(catalogue, MemoryStore(catalogue)), cast("ConsoleSource", _Sight()))
    assert [(each.day, each.label, each.words) for each in marks] == [
        ("1970-01-04", "", "a user was reset"),
        ("1970-01-05", "a: schema", "a went on under a changed schema, tips-v2"),
        ("1970-01-06", "", "2 users were reset"),
        ("1970-01-07", "b: settings", "b went on with other parameters"),
    ]
