"""What `export` wrote is imported into a shared ledger beside processes that serve it, user by user."""

import asyncio
import json
import time
from tempfile import NamedTemporaryFile
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from bandstand.bandit.profile import Profile
from bandstand.cli import command
from bandstand.store.postgres.address import LedgerAddress
from tests.store.given import Subject, assert_same
from tests.store.postgres.shared import make_shared, run_law_server, wait_for_waiter


async def run_state(url: str, *words: str) -> Any:
    return await asyncio.to_thread(CliRunner().invoke, command, ["state", *words], env={"STATE_URL": url})


async def run_import(url: str, lines: list[str], *words: str) -> Any:
    """Import lines from a file of their own."""
    with NamedTemporaryFile("w") as file:
        file.write("\n".join(lines))
        file.flush()
        return await run_state(url, "import", file.name, *words)


async def import_lines(url: str, lines: list[str], *words: str) -> dict[str, Any]:
    """Import lines: what the command says of it."""
    result = await run_import(url, lines, "--json", *words)
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


async def load(subject: Subject, user_id: str) -> Profile:
    """What the next decision about a user is made from."""
    await subject.decide(user_id, "egreedy-v1")  # a store that is behind is told so by its decision
    return (await subject.store.load_profile(user_id)).copy()


@pytest.mark.slow
async def test_an_import_takes_the_place_of_what_users_had_in_every_process_s_next_decision() -> None:
    with run_law_server() as url:
        async with Subject(make_shared(url)) as first, Subject(make_shared(url), seed=1) as second:
            first.clock.now = second.clock.now = time.time()  # the commands have no other
            for user_id in ("anna", "berta", "carla"):
                for _ in range(3):
                    await first.reward(await first.decide(user_id), first.random.uniform(-1, 1))
            open_before = await first.decide("anna")
            wanted = (await first.store.load_profile("anna")).copy()
            lines = (await run_state(url, "export")).stdout.splitlines()
            assert len(lines) == 3
            dora = json.dumps(json.loads(lines[2]) | {"user_id": "dora"})

            for subject in (first, second):
                await subject.reward(await subject.decide("anna"), 0.75)
                await subject.reward(await subject.decide("carla"), 0.75)
            second.clock.now = time.time() + 1.0
            await second.store.erase("berta", "tests")

            refused = await run_import(url, [*lines, "{}"])
            assert refused.exit_code == 1
            assert "nothing was imported: line 4" in str(refused.exception)
            older = await run_import(url, lines, "--format", "v1")
            assert older.exit_code == 1
            assert "into a directory" in str(older.exception)
            listed = await import_lines(url, [lines[0], lines[1]], "--dry-run")
            assert [each["user_id"] for each in listed["found"]] == ["anna"]
            assert listed["erased"] == 1
            assert (await first.store.load_profile("anna")).policies != wanted.policies, "nothing has changed"

            for _ in range(2):  # again does no harm
                told = await import_lines(url, [lines[0], lines[1], dora, "{}"], "--skip-bad")
                assert (told["users"], told["erased"], len(told["skipped"])) == (2, 1, 1)
            for subject in (first, second):
                found = await load(subject, "anna")
                egreedy = next(key for key in found.policies if key[0] == "egreedy-v1")
                del found.policies[egreedy]
                assert_same(found, wanted)
                found = await load(subject, "dora")
                assert found.policies["linucb-v2", "tips-v2"].reward_count == 3
                assert (await subject.state("carla")).reward_count == 5
                assert (await subject.store.load_profile("berta")).policies == {}
            await second.reward(open_before, 0.5)
            await load(first, "anna")
            assert (await first.state("anna")).reward_count == 4
            assert json.loads((await run_state(url, "verify", "--all", "--json")).stdout)["ok"]


@pytest.mark.slow
async def test_whoever_is_erased_while_an_export_runs_does_not_come_back_by_its_import() -> None:
    """The erasure had begun before and ends after, so the export still has their state."""
    with run_law_server() as url:
        async with Subject(make_shared(url)) as subject:
            subject.clock.now = time.time()
            await subject.reward(await subject.decide("berta"), 0.5)
            address = LedgerAddress.parse(url)
            session = await asyncpg.connect(address.dsn, server_settings={"search_path": address.schema})
            async with session.transaction():
                await session.execute("SELECT 1 FROM users FOR UPDATE")
                erasure = asyncio.create_task(subject.store.erase("berta", "tests"))
                await wait_for_waiter(session)
                lines = (await run_state(url, "export")).stdout.splitlines()
            await session.close()
            assert (await erasure).decisions == 1
            assert len(lines) == 1
            subject.clock.now = time.time()
            assert (await import_lines(url, lines))["erased"] == 1
            assert (await subject.store.load_profile("berta")).policies == {}
