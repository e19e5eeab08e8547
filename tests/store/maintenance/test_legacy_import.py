"""The first implementation's files: what they say is what is served, and what is wrong with one is said of it."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from bandstand.errors import InvalidRequestError
from bandstand.service.stats import load_user_stats
from bandstand.store.maintenance.import_ import ImportedUser, ImportResult, import_states
from bandstand.store.maintenance.legacy_import import read_ids, read_user_ids, read_v1, read_v1_of_users
from bandstand.store.maintenance.offline import open_owned
from bandstand.store.maintenance.rebuild_verify import Verification, verify
from tests.store.given import NOON
from tests.store.populated import Served, catalogue_of, extract_learned, load_states, serve_users

CATALOGUE = catalogue_of()
META = {"pulls": 12, "explore_count": 2, "reward_count": 9, "cumulative_reward": -1.25, "last_updated": NOON}


def import_files(
    state_dir: Path, *paths: Path, ids: dict[str, str] | None = None, skip_bad: bool = False
) -> ImportResult:
    with open_owned(state_dir, CATALOGUE, new=True) as state:
        return import_states(state, read_v1(paths, ids), now=NOON, skip_bad=skip_bad, merge=True)


def features(random: Random, d: int) -> list[float]:
    """x5 or x7 of the contract (A2), written out on its own."""
    h, w, age = random.randrange(24), random.randrange(7), random.uniform(0, 40)
    x5 = [
        math.sin(2 * math.pi * h / 24),
        math.cos(2 * math.pi * h / 24),
        float(random.random() < 0.5),
        min(age, 30) / 30,
        (random.randint(1, 4) - 1) / 3,
    ]
    return [*x5, math.sin(2 * math.pi * w / 7), math.cos(2 * math.pi * w / 7)][:d]


def file_of(d: int, seed: int = 0, rewards: int = 9, **meta: Any) -> dict[str, Any]:
    """What the first implementation kept of one user and policy after some rewards."""
    random = Random(seed)
    a, b = np.eye(d), np.zeros(d)
    for _ in range(rewards):
        x, r = np.array(features(random, d)), random.choice((-1.0, 0.1, 1.0))
        a += np.outer(x, x)
        b += r * x
    return {"A": a.tolist(), "b": b.tolist(), "meta": META | meta}


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(("d", "policy", "name"), [(5, "linucb-v1", "egreedy.json"), (7, "egreedy-v1", "linucb.json")])
async def test_what_the_file_had_learned_is_served_whatever_the_file_is_called(
    tmp_path: Path, d: int, policy: str, name: str
) -> None:
    file = file_of(d)
    assert import_files(tmp_path / "state", write(tmp_path / name, file)) == ImportResult(users=1)
    async with Served(tmp_path / "state") as served:
        user_id = name.removesuffix(".json")
        stats = await load_user_stats(served.deployment, user_id, policy)
        profile = await served.profile(user_id)
    np.testing.assert_allclose(stats.theta, np.linalg.solve(file["A"], file["b"]), rtol=0, atol=1e-12)
    assert (stats.pulls, stats.reward_count, stats.cumulative_reward) == (12, 9, -1.25)
    assert stats.exploration_rate == 2 / 12
    assert stats.last_updated == datetime.fromtimestamp(NOON, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    (state,) = profile.policies.values()
    assert state.ridge is not None
    np.testing.assert_allclose(state.ridge.gram, np.array(file["A"]) - np.eye(d), rtol=0, atol=1e-15)
    assert state.ridge.rr is None
    assert (round(state.ridge.weight, 9), state.ridge.count) == (9.0, 9)


async def test_learning_goes_on_from_it_and_is_rebuilt_from_it(tmp_path: Path) -> None:
    import_files(tmp_path / "state", write(tmp_path / "anna.json", file_of(5)))
    async with Served(tmp_path / "state") as served:
        served.clock.now += 10.0
        await served.live_history("anna", policies=("linucb-v1",))
        live = await served.profile("anna")
    assert live.policies["linucb-v1", "tips-5"].reward_count > 9
    assert extract_learned(load_states(tmp_path / "state")["anna"]) == extract_learned(live)
    assert verify(tmp_path / "state", CATALOGUE) == Verification(users=1, equal=1)


async def test_files_of_one_user_in_folders_of_any_depth_become_one_state(tmp_path: Path) -> None:
    write(tmp_path / "old" / "a_b.json", file_of(5, seed=1))
    write(tmp_path / "old" / "egreedy" / "a_b.json", file_of(7, seed=2))
    write(tmp_path / "old" / "egreedy" / "c_7.json", file_of(7, seed=3))
    write(tmp_path / "old" / "c_5.json", file_of(5, seed=4))
    ids = {"a_b": "a.b", "c_5": "🦊", "c_7": "🦊", "unused": "x"}
    assert import_files(tmp_path / "state", tmp_path / "old", ids=ids) == ImportResult(users=2)
    found = load_states(tmp_path / "state")
    both = {("linucb-v1", "tips-5"), ("egreedy-v1", "tips-7")}
    assert {user_id: set(profile.policies) for user_id, profile in found.items()} == {"a.b": both, "🦊": both}


async def test_what_other_policies_know_of_the_user_stays(tmp_path: Path) -> None:
    live = (await serve_users(tmp_path / "state", "anna"))["anna"]
    import_files(tmp_path / "state", write(tmp_path / "anna.json", file_of(5)))
    found = load_states(tmp_path / "state")["anna"]
    kept = {name: state for name, state in extract_learned(live).items() if name != "linucb-v1"}
    assert {name: state for name, state in extract_learned(found).items() if name != "linucb-v1"} == kept
    assert found.policies["linucb-v1", "tips-5"].pulls == 12


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, (0, 0, 0.0, None)),
        ({"pulls": 3, "unknown": [1]}, (3, 0, 0.0, None)),
        ({"last_updated": "2025-06-15T15:06:40Z"}, (0, 0, 0.0, NOON)),
        ({"last_updated": "2025-06-15T17:06:40+02:00"}, (0, 0, 0.0, NOON)),
        ({"last_updated": "2025-06-15T15:06:40"}, (0, 0, 0.0, NOON)),
        ({"last_updated": 1_750_000_000}, (0, 0, 0.0, NOON)),
        ({"last_updated": 1_750_000_000_000}, (0, 0, 0.0, NOON)),
        ({"last_updated": "1750000000000"}, (0, 0, 0.0, NOON)),
        ({"last_updated": None, "cumulative_reward": 2}, (0, 0, 2.0, None)),
    ],
)
async def test_counters_are_taken_where_they_are(tmp_path: Path, meta: dict[str, Any], expected: object) -> None:
    file = file_of(5)
    import_files(tmp_path / "state", write(tmp_path / "anna.json", file | {"meta": meta}))
    state = load_states(tmp_path / "state")["anna"].policies["linucb-v1", "tips-5"]
    assert (state.pulls, state.reward_count, state.cumulative_reward, state.last_updated) == expected
    assert state.ridge is not None
    assert state.ridge.count == 9


@pytest.mark.parametrize("moment", [1e300, 253402300800, -1, "soon", True, "9999-12-31", 10**400, [], "1e9"], ids=str)
async def test_a_time_that_is_none_is_refused_by_name(tmp_path: Path, moment: object) -> None:
    path = write(tmp_path / "anna.json", file_of(5, last_updated=moment))
    with pytest.raises(InvalidRequestError, match=r"meta\.last_updated: must be a time"):
        import_files(tmp_path / "state", path)


async def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "anna.json", file_of(5))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert import_files(tmp_path / "state", path) == ImportResult(users=1)


async def test_a_file_without_meta_and_without_rewards_is_fine(tmp_path: Path) -> None:
    file = {"A": np.eye(7).tolist(), "b": [0] * 7}
    assert import_files(tmp_path / "state", write(tmp_path / "anna.json", file)).users == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"b": [0.0] * 6, "A": np.eye(6).tolist()}, "b has 6 numbers; linucb-v1 has 5 and egreedy-v1 has 7"),
        ({"b": [0.0] * 7}, "A is not 7×7"),
        ({"A": np.eye(5)[:4].tolist()}, "A is not 5×5"),
        ({"A": np.eye(5)[:, :4].tolist()}, "A is not 5×5"),
        ({"A": (np.eye(5) + np.eye(5, k=1) * 1e-3).tolist()}, "A is not symmetric"),
        ({"A": (np.eye(5) * 0.9).tolist()}, "A − I is not positive semi-definite"),
        ({"A": np.full((5, 5), np.nan).tolist()}, "A.0.0: Input should be a finite number"),
        ({"b": [0.0, 0.0, 0.0, 0.0, math.inf]}, "b.4: Input should be a finite number"),
        ({"b": None}, "b: Input should be a valid array"),
        ({"meta": {"pulls": -1}}, "meta.pulls: Input should be greater than or equal to 0"),
        ({"meta": {"cumulative_reward": "much"}}, "meta.cumulative_reward: Input should be a valid number"),
    ],
)
async def test_a_wrong_file_is_named_and_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    write(tmp_path / "old" / "good.json", file_of(5))
    bad = write(tmp_path / "old" / "bad.json", file_of(5) | change)
    with pytest.raises(InvalidRequestError) as refusal:
        import_files(tmp_path / "state", tmp_path / "old")
    assert refusal.value.detail.startswith(f"nothing was imported: {bad}: ")
    assert reason in refusal.value.detail
    assert load_states(tmp_path / "state") == {}
    outcome = import_files(tmp_path / "state", tmp_path / "old", skip_bad=True)
    assert (outcome.users, len(outcome.skipped)) == (1, 1)
    assert load_states(tmp_path / "state").keys() == {"good"}


async def test_a_file_that_is_no_json_or_no_user_s_is_named(tmp_path: Path) -> None:
    torn = tmp_path / "torn.json"
    torn.write_text("{", encoding="utf-8")
    nobody = write(tmp_path / "nobody.json", file_of(5))
    with pytest.raises(InvalidRequestError, match=r"torn\.json: Invalid JSON.*nobody\.json: String should match"):
        import_files(tmp_path / "state", torn, nobody, ids={"nobody": "a\tb"})


async def test_two_files_of_one_policy_for_one_user_are_refused(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.json", file_of(5)), write(tmp_path / "b.json", file_of(5))
    with pytest.raises(InvalidRequestError) as refusal:
        import_files(tmp_path / "state", first, second, ids={"a": "anna", "b": "anna"})
    assert refusal.value.detail.endswith(f"{second}: holds linucb-v1 of a user that has it from {first}")


async def test_its_own_directory_just_works(tmp_path: Path) -> None:
    write(tmp_path / "old" / "ada.json", file_of(5, seed=1))
    write(tmp_path / "old" / "ada_egreedy.json", file_of(7, seed=2))
    write(tmp_path / "old" / "bob_egreedy.json", file_of(5, seed=3))  # a user of that name: 5×5 is LinUCB's
    assert import_files(tmp_path / "state", tmp_path / "old") == ImportResult(users=2)
    found = {user_id: set(profile.policies) for user_id, profile in load_states(tmp_path / "state").items()}
    linucb, egreedy = ("linucb-v1", "tips-5"), ("egreedy-v1", "tips-7")
    assert found == {"ada": {linucb, egreedy}, "bob_egreedy": {linucb}}


async def test_real_ids_find_the_files_that_they_were_folded_into(tmp_path: Path) -> None:
    write(tmp_path / "old" / "ada_b_example_org.json", file_of(5))
    write(tmp_path / "old" / "ada_b_example_org_egreedy.json", file_of(7))
    write(tmp_path / "old" / "Zoë.json", file_of(5))
    users = ["ada.b@example.org", "never met", "Zoë", "Zoë"]
    with open_owned(tmp_path / "state", CATALOGUE, new=True) as state:
        import_states(state, read_v1_of_users([tmp_path / "old"], users), now=NOON, merge=True)
    found = load_states(tmp_path / "state")
    assert found.keys() == {"ada.b@example.org", "Zoë"}
    assert len(found["ada.b@example.org"].policies) == 2


@pytest.mark.parametrize(
    ("users", "reason"),
    [
        (["a.b", "a_b"], "'a.b' and 'a_b' shared this file: name the one it is to be with --ids"),
        (["someone else"], "no id in the list of users has this file name"),
    ],
)
def test_a_file_of_two_users_or_of_none_is_named(tmp_path: Path, users: list[str], reason: str) -> None:
    path = write(tmp_path / "a_b.json", file_of(5))
    (source,) = read_v1_of_users([path], users)
    assert (source.location, source.fault) == (str(path), reason)


@pytest.mark.parametrize("rewards", [1, 2, 1000])
async def test_sums_that_were_rounded_to_float32_are_taken(tmp_path: Path, rewards: int) -> None:
    for seed in range(20):
        file = file_of(7, seed=seed, rewards=rewards)
        rounded = np.array(file["A"], np.float32)
        write(tmp_path / "old" / f"user-{seed}.json", file | {"A": rounded.tolist()})
    assert import_files(tmp_path / "state", tmp_path / "old").users == 20
    assert verify(tmp_path / "state", CATALOGUE) == Verification(users=20, equal=20)


async def test_a_dry_run_lists_the_users_and_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "ada.json", file_of(5))
    with open_owned(tmp_path / "state", CATALOGUE, new=True) as state:
        result = import_states(state, read_v1([path]), now=NOON, merge=True, dry_run=True)
    assert result == ImportResult(users=1, found=[ImportedUser("ada", str(path), {"linucb-v1": 9})])
    assert load_states(tmp_path / "state") == {}


@pytest.mark.parametrize(
    "text", ['["a.b", "🦊, of the woods"]', "a.b\n🦊, of the woods\n", "\ufeffa.b\r\n\r\n🦊, of the woods"]
)
def test_a_list_of_users_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_user_ids(path) == ["a.b", "🦊, of the woods"]


@pytest.mark.parametrize(("text", "reason"), [("[1]", "must be a list of user ids"), ("[", "Expecting value")])
def test_what_is_no_list_of_users_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "users"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRequestError, match=reason):
        read_user_ids(path)


def test_paths_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no such file"):
        import_files(tmp_path / "state", tmp_path / "nowhere.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequestError, match=r"holds no \.json file"):
        import_files(tmp_path / "state", tmp_path / "empty")


@pytest.mark.parametrize(
    "text",
    [
        '{"a_b": "a.b", "c": "🦊, of the woods"}',
        '\ufeff{"a_b": "a.b", "c": "🦊, of the woods"}',
        'a_b,a.b\nc,"🦊, of the woods"\n',
        "a_b\ta.b\r\n\r\nc\t🦊, of the woods\r\n",
    ],
)
def test_a_list_of_users_is_json_csv_or_tsv(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ids"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_ids(path) == {"a_b": "a.b", "c": "🦊, of the woods"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1}', "entry 1 is not a name and a user id"),
        ('{"a": "x", "a": "y"}', "entry 2 has a name that an earlier one has"),
        ('{"a": "x"', "Expecting"),
        ("a,b\nc\n", "entry 2 is not a name and a user id"),
        ("a,b\na,c\n", "entry 2 has a name that an earlier one has"),
        ("a,b,c\n", "entry 1 is not a name and a user id"),
        ("a,\n", "entry 1 is not a name and a user id"),
    ],
)
def test_a_wrong_list_of_users_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "ids"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRequestError) as refusal:
        read_ids(path)
    assert refusal.value.detail.startswith(f"{path}: ")
    assert reason in refusal.value.detail


def test_a_list_of_users_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="No such file"):
        read_ids(tmp_path / "ids")
