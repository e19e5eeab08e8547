"""A ledger that changes its format while processes of the version before serve it."""

from collections.abc import Iterator

import asyncpg
import pytest

from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.postgres import schema
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.schema import FormatUpgrade
from tests.store.given import Subject
from tests.store.postgres.shared import make_shared, run_law_server

UPGRADES, FORMAT = schema.UPGRADES, schema.FORMAT
ADDS = FormatUpgrade(
    "ALTER TABLE decisions ADD COLUMN channel TEXT NOT NULL DEFAULT 'web'; CREATE TABLE notes (a int)", FORMAT
)
ENDS = FormatUpgrade("ALTER TABLE decisions DROP COLUMN channel; DROP TABLE notes", FORMAT + 2)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_law_server() as found:
        yield found


def make_version(patched: pytest.MonkeyPatch, *upgrades: FormatUpgrade) -> None:
    """Let stores be of a version with these further upgrades from here on."""
    patched.setattr(schema, "UPGRADES", (*UPGRADES, *upgrades))
    patched.setattr(schema, "FORMAT", FORMAT + len(upgrades))


async def read_columns(url: str) -> set[str]:
    """The columns of decisions."""
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn)
    try:
        query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'decisions'"
        return {row[0] for row in await session.fetch(query)}
    finally:
        await session.close()


async def test_old_and_new_serve_side_by_side_until_a_format_says_otherwise(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Subject(make_shared(url)) as old:
        await old.reward(await old.decide("anna"), 0.5)
        make_version(monkeypatch, ADDS)
        async with Subject(make_shared(url)) as new:
            assert "channel" in await read_columns(url)
            mine = await new.decide("anna")
            monkeypatch.undo()
            await old.reward(mine, 0.25)
            await new.reward(await old.decide("anna"), 0.25)
            async with Subject(make_shared(url)) as late:  # of the old version, started after the upgrade
                await late.reward(await late.decide("anna"), 0.25)
                profile = await late.store.load_profile("anna")
                assert sum(state.reward_count for state in profile.policies.values()) == 4
            await old.decide("berta")
            make_version(monkeypatch, ADDS, ENDS)
            async with Subject(make_shared(url)) as newest:
                assert "channel" not in await read_columns(url)
                monkeypatch.undo()
                refused = f"has format {FORMAT + 2}; this version of Bandstand reads {FORMAT}"
                with pytest.raises(StorageUnavailableError, match=refused):
                    await old.decide("berta")
                with pytest.raises(StorageUnavailableError, match=refused):
                    await old.reward(mine, 0.5)
                assert old.store.status().state == "failed"
                with pytest.raises(ConfigurationError, match=refused):
                    await make_shared(url)(old.clock).open()
                make_version(monkeypatch, ADDS, ENDS)
                await newest.reward(await newest.decide("berta"), 0.5)


async def test_a_new_ledger_has_the_newest_format_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = url.replace("schema=bandstand", "schema=other")
    make_version(monkeypatch, ADDS)
    async with Subject(make_shared(other)) as subject:
        await subject.decide("anna")
    monkeypatch.undo()
    async with Subject(make_shared(other)) as subject:
        await subject.decide("anna")


async def test_an_upgrade_that_fails_leaves_the_ledger_as_it_was(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = url.replace("schema=bandstand", "schema=third")
    async with Subject(make_shared(other)) as old:
        broken = FormatUpgrade("CREATE TABLE half (a int); SELECT 1 / 0", FORMAT + 1)
        make_version(monkeypatch, broken)
        with pytest.raises(ConfigurationError):
            await make_shared(other)(old.clock).open()
        monkeypatch.undo()
        await old.reward(await old.decide("anna"), 0.5)
        make_version(monkeypatch, ADDS)
        async with Subject(make_shared(other)) as new:
            await new.decide("anna")


async def test_a_ledger_of_the_first_format_is_brought_to_the_newest_and_decides_on(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = url.replace("schema=bandstand", "schema=fourth")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "UPGRADES", ())
        patched.setattr(schema, "FORMAT", 1)
        session = await asyncpg.connect(LedgerAddress.parse(other).dsn)
        try:
            await session.execute("CREATE SCHEMA fourth; SET search_path TO fourth")
            await schema.run_scripts(session)
        finally:
            await session.close()
    async with Subject(make_shared(other)) as subject:
        await subject.reward(await subject.decide("anna"), 0.5)
