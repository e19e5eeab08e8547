"""A shared ledger's checkpoints and totals are compared with its events, and made again where they are wrong."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from bandstand.cli import command
from bandstand.store.learners.documents import parse, render
from bandstand.store.maintenance.export import read_lines
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.profiles import CHECKPOINT_EVENTS
from bandstand.store.postgres.store import SharedStore
from bandstand.store.records import RewardPart
from tests.store.given import Subject, assert_same
from tests.store.postgres.shared import make_shared, run_law_server
from tests.store.reward_checks import SUM

_READ = "SELECT document FROM checkpoints JOIN users USING (uid) WHERE user_id = $1"
_TAMPER = "UPDATE checkpoints SET document = $2 WHERE uid = (SELECT uid FROM users WHERE user_id = $1)"
_FAULT = "linucb-v2: cumulative_reward differs from the ledger's"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_law_server() as found:
        yield found


async def run_state(url: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Run a command over a shared ledger: its exit code and its answer."""
    arguments = ["state", *words, "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, command, arguments, env={"STATE_URL": url})
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.slow
async def test_what_is_wrong_is_found_and_made_again_while_a_service_has_it_in_memory(url: str) -> None:
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn, server_settings={"search_path": "bandstand"})
    async with Subject(make_shared(url)) as subject:
        store = subject.store
        assert isinstance(store, SharedStore)
        undone = await subject.reward_legacy("berta")
        for user_id in ("anna", "berta"):
            await store.load_profile(user_id)
            for _ in range(CHECKPOINT_EVENTS + 3):
                await subject.reward_legacy(user_id, subject.random.uniform(-1, 1))
        part = subject.reward_of(await subject.decide("anna"), 0.5, settings=SUM)
        part.part = RewardPart(0.5, metrics='{"minutes": 3.0}')
        await store.reward(part)
        await store.ledger.users.write_checkpoints()
        sound = {"ok": True, "users": 2, "missing": 0, "compared": 2, "equal": 2, "superseded": 0}
        assert await run_state(url, "verify") == (0, {**sound, "faults": [], "totals": []})

        await store.revoke([undone.reward.seq], cause="undo", client="tests")
        right = (await store.load_profile("anna")).copy()
        wrong = parse(await session.fetchval(_READ, "anna"))
        state = wrong.policies["linucb-v2", "tips-v2"]
        state.cumulative_reward += 1e-6
        await session.execute(_TAMPER, "anna", render(wrong))
        await session.execute("UPDATE metric_sums_s SET parts = parts + 1")
        store.ledger.users.drop("anna")
        await store.load_profile("anna")  # as a service that has come to know it by the checkpoint
        code, found = await run_state(url, "verify", "--all")
        assert (code, found["ok"], found["equal"], found["superseded"]) == (1, False, 0, 1)
        assert [each.split(": ", 1)[1] for each in found["faults"]] == [_FAULT]
        assert [each.split(":")[0] for each in found["totals"]] == ["metric_sums"]

        code, mended = await run_state(url, "rebuild")
        assert (code, mended["mended"], len(mended["totals"]), mended["left"]) == (0, 1, 1, [])
        assert (await run_state(url, "verify"))[0] == 0
        assert_same(await store.load_profile("anna"), right)
        exported = await asyncio.to_thread(CliRunner().invoke, command, ["state", "export"], env={"STATE_URL": url})
        _, last = exported.stdout.splitlines()
        [read] = read_lines([last.encode()])
        assert read.profile is not None
        assert_same(read.profile, right)
        [sums] = await store.load_metric_sums()
        assert (sums.parts, sums.total) == (1, 3.0)
    await session.close()
