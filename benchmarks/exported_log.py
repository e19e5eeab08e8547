"""What a log costs as Parquet, and how much of a replay goes ahead of its parts.

    python benchmarks/exported_log.py [--users 200] [--days 25]

The log is that of `policy_replay.py`. Going ahead is what `bandstand evaluate plan` does, and the first process of
`--jobs`; it cannot be spread out, so one process's time over its time is the most that more of them bring. Time is the
processor's.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import zstandard
from policy_replay import serve_world

from bandstand.bandit.catalogue import Catalogue
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import read_settings
from bandstand.evaluate.files.event_files import EventFiles
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.replay import PolicyReplay
from bandstand.simulate.world.persona import make_personas
from bandstand.simulate.world.world import World
from bandstand.store.event_files.day_reader import DirectoryDays
from bandstand.store.event_files.export import export_days
from bandstand.store.maintenance.offline import open_read_only

_TOMORROW_S = 2 * 86_400.0


def _measure(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _go_ahead(replay: PolicyReplay, files: EventFiles) -> None:
    for page in files.read_events(learning=True):
        replay.learn_page(page)


def _replay(replay: PolicyReplay, files: EventFiles) -> None:
    for page in files.read_events():
        replay.replay_page(page)


def _measure_policy(catalogue: Catalogue, name: str, folder: Path, users: int, *, model: bool) -> str:
    files = EventFiles.open(folder)
    if files is None:
        raise AssertionError("the log was exported")
    decisions = sum(counts.decisions for counts in files.count_decisions())
    ahead, whole = (PolicyReplay([CandidatePolicy(catalogue.get_policy(name))], str, model=model) for _ in range(2))
    learning, replaying = _measure(lambda: _go_ahead(ahead, files)), _measure(lambda: _replay(whole, files))
    begins_with = len(zstandard.compress(json.dumps(ahead.to_json()).encode())) / users
    return (
        f"{name + (' with dr' if model else ''):<22}{decisions / replaying:>12,.0f}{learning / replaying:>12.0%}"
        f"{replaying / learning:>10.1f}{begins_with:>14,.0f}"
    )


def main() -> None:
    """Make a ledger, export it, go ahead and replay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--days", type=int, default=25)
    options = parser.parse_args()
    catalogue = load_catalogue(read_settings())
    world = World(personas=make_personas("uniform", options.users, 0), seed=0, days=options.days)
    decisions = options.users * world.decisions_per_user
    with tempfile.TemporaryDirectory() as name:
        state_dir, folder = Path(name) / "state", Path(name) / "log"
        asyncio.run(serve_world(state_dir, catalogue, [world.build_episode(user) for user in range(options.users)]))
        with open_read_only(state_dir, catalogue) as state:
            seconds = _measure(lambda: export_days(DirectoryDays(state), folder, now=time.time() + _TOMORROW_S))
        ledger = (state_dir / "ledger.db").stat().st_size / decisions
        files = sum(path.stat().st_size for path in folder.iterdir()) / decisions
        print(f"{decisions:,} decisions of {options.users} users, all rewarded")
        print(f"export: {decisions / seconds:,.0f} decisions a second")
        print(f"bytes a decision with its reward: {ledger:,.0f} in the ledger, {files:,.0f} in files\n")
        print(f"{'':<22}{'decisions/s':>12}{'goes ahead':>12}{'at most':>10}{'bytes a user':>14}")
        for policy, model in (("linucb-v1", False), ("linucb-v1", True), ("linucb-v2", False), ("thompson-v1", False)):
            print(_measure_policy(catalogue, policy, folder, options.users, model=model))


if __name__ == "__main__":
    main()
