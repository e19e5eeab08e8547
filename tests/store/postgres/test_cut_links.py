"""A primary whose links are cut, first that to its standby: what nobody could copy was not acknowledged either."""

import asyncio
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import asyncpg
import pytest

from bandstand.store.postgres.address import LedgerAddress
from bandstand.testing.postgres_server import PostgresServer, run_server
from tests.store.postgres.shared import run_test_server
from tests.store.postgres.test_fail_over import SYNCHRONOUS, count_rewards
from tests.store.postgres.trials import CHAOS, record_totals, require_kept, run_streamers

pytestmark = pytest.mark.slow

CUTS = [(delay_ms, durability) for delay_ms in (0, 30, 100) for durability in ("full", "strict")]
"""Milliseconds from the cut between the two servers to the cut between the primary and its clients."""


class CutNetwork:
    """A network namespace for a primary, with a link to its clients and one to its standby."""

    def __init__(self) -> None:
        number = secrets.randbelow(256)
        self.name = f"bandstand{number}"
        self._networks = f"198.18.{number}", f"198.19.{number}"  # kept for measurements: nobody's addresses
        self._devices = f"bandstand{number}a", f"bandstand{number}b"

    def get_address(self, place: int) -> str:
        """The primary's, on a link: 0 is that to its clients, 1 to its standby."""
        return f"{self._networks[place]}.2"

    def open(self) -> None:
        """Make it."""
        run_ip("netns", "add", self.name)
        for place, (outside, network) in enumerate(zip(self._devices, self._networks, strict=True)):
            inside = f"link{place}"
            run_ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", self.name)
            run_ip("address", "add", f"{network}.1/24", "dev", outside)
            run_ip("link", "set", outside, "up")
            run_ip("-n", self.name, "address", "add", f"{network}.2/24", "dev", inside)
            run_ip("-n", self.name, "link", "set", inside, "up")

    def cut(self, place: int) -> None:
        """Let nothing through any more; neither end is told."""
        run_ip("-n", self.name, "link", "set", f"link{place}", "down")

    def close(self) -> None:
        """Let go of it and of its links."""
        for outside in self._devices:
            run_ip("link", "delete", outside)
        run_ip("netns", "delete", self.name)


def run_ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)  # noqa: S607 (wherever the system has it)


@contextmanager
def run_network() -> Iterator[CutNetwork]:
    network = CutNetwork()
    try:
        network.open()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    try:
        yield network
    finally:
        network.close()


@contextmanager
def run_pair(settings: dict[str, str]) -> Iterator[tuple[CutNetwork, PostgresServer, str]]:
    """A primary behind two links, its standby, and the URL of both."""
    listening = {"listen_addresses": "*", "wal_sender_timeout": "2s"}
    with (
        run_network() as network,
        run_test_server({**settings, **listening}, network=network.name) as primary,
        run_server({"autovacuum": "off"}, primary, source=network.get_address(1)) as standby,
    ):
        hosts = f"{network.get_address(0)},{quote(str(standby.folder), safe='')}"
        yield network, standby, f"postgresql://bandstand@/postgres?host={hosts}&schema=bandstand"


async def fail_over(
    network: CutNetwork, standby: PostgresServer, url: str, delay_ms: int, durability: str = "full"
) -> list[list[str]]:
    """Cut one link and then the other, promote the standby, and see that all go on there; what was acknowledged."""
    with run_streamers(url, 2, durability) as streamers:
        await asyncio.sleep(1.5)
        network.cut(1)
        await asyncio.sleep(delay_ms / 1000)
        network.cut(0)
        standby.promote()
        before = await count_rewards(standby)
        async with asyncio.timeout(120):
            while await count_rewards(standby) == before:  # noqa: ASYNC110 (they go on there by themselves)
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        words = []
        while streamers:
            words += streamers.pop().kill()
    return words


@pytest.mark.parametrize(("delay_ms", "durability"), CUTS if CHAOS else [(30, "full")])
async def test_with_a_synchronous_standby_no_acknowledged_reward_goes_with_the_primary(
    delay_ms: int, durability: str, record_property: Callable[[str, object], None]
) -> None:
    with run_pair(SYNCHRONOUS) as (network, standby, url):
        words = await fail_over(network, standby, url, delay_ms, durability)
        totals = await require_kept(standby.build_url(), words, keeps_decisions=durability == "strict")
    record_totals(record_property, totals)


async def test_without_one_what_was_acknowledged_after_the_cut_is_lost_and_no_more() -> None:
    with run_pair({"autovacuum": "off"}) as (network, standby, url):
        words = await fail_over(network, standby, url, 300)
        acknowledged = {decision_id for kind, decision_id, *_ in words if kind == "reward"}
        session = await asyncpg.connect(LedgerAddress.parse(standby.build_url()).dsn)
        try:
            query = """SELECT lpad(to_hex(d.seq), 16, '0') || d.nonce FROM bandstand.rewards AS r
                JOIN bandstand.decisions AS d ON d.seq = r.decision_seq"""
            kept = {decision_id for (decision_id,) in await session.fetch(query)}
        finally:
            await session.close()
        lost = acknowledged - kept
        assert lost, "this is what a synchronous standby is for"
        assert len(lost) < len(acknowledged) / 2
