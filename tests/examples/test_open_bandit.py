"""The Open Bandit example: which logs it refuses and why, and that a replay over HTTP counts and learns."""

import csv
import gzip
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from bandstand_client import Bandstand

from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings
from examples.open_bandit.replay import (
    CONFIG,
    CONTROL,
    RIDGE,
    Impression,
    ReplayError,
    most_shown,
    read_log,
    replay,
    require_uniform,
    served,
    wilson,
)

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "ope"
REAL = pytest.mark.skipif(not DATA.is_dir(), reason="the Open Bandit logs are not beside the project")

USER_FEATURES = [f"user_feature_{number}" for number in range(4)]
HEADER = ["timestamp", "item_id", "position", "click", "propensity_score", *USER_FEATURES]
ROW = ["2019-11-24", "0", "1", "0", "0.5", "1", "0", "4", "6"]
OTHER_ROW = ["2019-11-24", "1", "1", "0", "0.5", "1", "0", "4", "6"]


def write(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def uniform_log(count: int, items: int, *, clicked: Sequence[tuple[str, int]], seed: int = 7) -> list[Impression]:
    """Uniform over the items; those two kinds of user click exactly the item named with theirs."""
    rng = random.Random(seed)
    log = []
    for _ in range(count):
        item, position, user = rng.randrange(items), rng.randrange(3), rng.choice("12")
        features = {"user_feature_0": user, "user_feature_1": "0", "user_feature_2": "4", "user_feature_3": "5"}
        log.append(Impression(item, position, int((user, item) in clicked), 1 / items, features))
    return log


def build_cells(log: Sequence[Impression]) -> list[list[str]]:
    return [
        ["2019-11-24", str(row.item), str(row.position), str(row.click), f"{row.propensity:.10f}", *row.user.values()]
        for row in log
    ]


# ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_a_uniform_log_is_read_as_it_was_written_and_taken(tmp_path: Path, name: str) -> None:
    log = uniform_log(300, 3, clicked=[("1", 0)])
    read = read_log(write(tmp_path / name, build_cells(log)))
    assert [row._replace(propensity=1 / 3) for row in read] == log
    require_uniform(read)


@pytest.mark.parametrize(
    ("absent", "named"),
    [(["propensity_score"], "column propensity_score"), (["click", "position"], "columns position, click")],
)
def test_a_column_that_is_lacking_is_named(tmp_path: Path, absent: list[str], named: str) -> None:
    kept = [index for index, name in enumerate(HEADER) if name not in absent]
    path = write(tmp_path / "log.csv", [[ROW[index] for index in kept]], [HEADER[index] for index in kept])
    with pytest.raises(ReplayError, match=rf"lacks the {named}$"):
        read_log(path)


@pytest.mark.parametrize(
    ("column", "cell", "fault"),
    [
        ("item_id", "sandals", "item_id is 'sandals', not a whole number from 0"),
        ("position", "-1", "position is '-1', not a whole number from 0"),
        ("click", "2", "click is '2', not 0 or 1"),
        ("propensity_score", "often", "propensity_score is 'often', not a number above 0, up to 1"),
        ("propensity_score", "nan", "propensity_score is 'nan', not a number above 0, up to 1"),
        ("propensity_score", "0", "propensity_score is '0', not a number above 0, up to 1"),
        ("user_feature_2", "", "user_feature_2 is blank"),
    ],
)
def test_a_cell_that_makes_no_sense_is_refused_with_its_row(tmp_path: Path, column: str, cell: str, fault: str) -> None:
    bad = ROW.copy()
    bad[HEADER.index(column)] = cell
    with pytest.raises(ReplayError) as refused:
        read_log(write(tmp_path / "log.csv", [ROW, OTHER_ROW, bad]))
    assert str(refused.value) == f"row 3 (line 4): {fault}"


@pytest.mark.parametrize(("bad", "word"), [([*ROW, "1"], "more"), (ROW[:-1], "fewer")])
def test_a_row_of_another_length_is_refused(tmp_path: Path, bad: list[str], word: str) -> None:
    with pytest.raises(ReplayError, match=rf"row 2 \(line 3\) has {word} cells than the header"):
        read_log(write(tmp_path / "log.csv", [ROW, bad]))


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.touch()
    with pytest.raises(ReplayError, match="it has no header"):
        read_log(path)
    with pytest.raises(ReplayError, match="it has a header but no rows"):
        read_log(write(path, []))


def test_a_file_that_is_missing_or_garbled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"cannot be read: .*No such file"):
        read_log(tmp_path / "log.csv")
    path = tmp_path / "log.csv.gz"
    path.write_bytes(b"item_id,position\n0,1\n")
    with pytest.raises(ReplayError, match="cannot be read: Not a gzipped file"):
        read_log(path)
    whole = write(path, build_cells(uniform_log(5000, 3, clicked=[]))).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReplayError, match=r"cannot be read after row \d+: Compressed file ended"):
        read_log(path)
    (tmp_path / "log.csv").write_bytes(whole)
    with pytest.raises(ReplayError, match="cannot be read: 'utf-8' codec"):
        read_log(tmp_path / "log.csv")


def test_a_log_whose_propensities_are_not_one_over_its_items_is_refused() -> None:
    log = uniform_log(90, 3, clicked=[])
    log[17] = log[17]._replace(propensity=0.3)
    reason = r"3 items, .* 1/3 = 0\.333333, but 1 of 90 are not; the first is 0\.3, in row 18 at"
    with pytest.raises(ReplayError, match=reason):
        require_uniform(log)
    with pytest.raises(ReplayError, match=r"but 90 of 90 are not; the first is 0\.25, in row 1"):
        require_uniform([row._replace(propensity=0.25) for row in log])


@pytest.mark.parametrize("items", [2, 34, 80, 999])
def test_one_over_k_may_be_rounded_but_not_be_one_over_a_neighbour_of_k(items: int) -> None:
    log = [Impression(item, 0, 0, float(f"{1 / items:.6g}"), {}) for item in range(items)]
    require_uniform(log)
    for other in (items - 1, items + 1):
        with pytest.raises(ReplayError, match="is not uniform"):
            require_uniform([row._replace(propensity=1 / other) for row in log])


def test_a_log_that_only_claims_to_be_uniform_is_refused() -> None:
    log = uniform_log(600, 6, clicked=[])
    require_uniform(log)
    lopsided = [row if row.position else row._replace(item=row.item // 5 * 5) for row in log]
    with pytest.raises(ReplayError, match="though its propensities say so: at position 0 it shows item 0"):
        require_uniform(lopsided)


def test_a_log_of_one_item_is_refused() -> None:
    with pytest.raises(ReplayError, match="a single item"):
        require_uniform(uniform_log(9, 1, clicked=[]))


def test_the_most_shown_items_are_kept_with_their_rows_in_order() -> None:
    shown = [4, 2, 2, 0, 4, 2, 1, 3]
    log = [Impression(item, 0, 0, 0.2, {"row": str(row)}) for row, item in enumerate(shown)]
    assert [row.item for row in most_shown(log, 2)] == [4, 2, 2, 4, 2]
    assert {row.item for row in most_shown(log, 3)} == {0, 2, 4}, "of equals the lower number"
    assert most_shown(log, 5) == log
    for count in (1, 6):
        with pytest.raises(ReplayError, match=f"from 2 to the log's 5 items, not {count}"):
            most_shown(log, count)


@pytest.mark.parametrize(
    ("clicks", "shown", "low", "high"),
    [(0, 10, 0.0, 0.2775328), (5, 10, 0.2365931, 0.7634069), (38, 10_000, 0.0027694, 0.0052121)],
)
def test_the_interval_is_wilsons(clicks: int, shown: int, low: float, high: float) -> None:
    assert wilson(clicks, shown) == pytest.approx((low, high), abs=1e-6)
    mirrored = wilson(shown - clicks, shown)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


# ── the configuration and the replay ─────────────────────────────────────────────────────────────────────────────────


def test_the_schema_is_the_deployments_own_and_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANDSTAND_CONFIG", str(CONFIG))
    catalogue = load_catalogue(Settings())
    schema = catalogue.policies[RIDGE].schema
    assert catalogue.policies[CONTROL].schema is schema
    assert set(schema.context_fields) == set(USER_FEATURES)
    assert set(schema.candidate_fields) == {"item", "position"}
    assert f"d = {schema.dimension}:" in CONFIG.read_text(encoding="utf-8")
    assert schema.dimension <= 200


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served() as address, httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def product(client: httpx.Client) -> Iterator[Bandstand]:
    with Bandstand(str(client.base_url)) as opened:
        yield opened


class Heard(NamedTuple):
    pulls: int
    rewards: int
    clicks: float


def load_learned(client: httpx.Client, policy: str, user_id: str) -> Heard:
    stats = client.get(f"/stats/{policy}/{user_id}").json()
    return Heard(stats["pulls"], stats["reward_count"], stats["cumulative_reward"])


@pytest.mark.parametrize("policy", [RIDGE, CONTROL])
def test_matches_and_clicks_are_those_of_the_picks_the_service_remembers(
    client: httpx.Client, product: Bandstand, policy: str
) -> None:
    log = uniform_log(100, 4, clicked=[("1", 0), ("2", 0), ("2", 3)])  # as many as /features gives back
    steps: list[None] = []
    outcome = replay(product, policy, log, f"counted by {policy}", lambda: steps.append(None))
    picks = client.get("/features", params={"user_id": f"counted by {policy}"}).json()["history"]
    matching = [row for row, pick in zip(log, picks, strict=True) if pick["tip_id"] == str(row.item)]
    assert outcome == (policy, len(matching), sum(row.click for row in matching))
    assert load_learned(client, policy, f"counted by {policy}") == (100, outcome.matches, outcome.clicks)
    assert len(steps) == len(log)


def test_the_control_is_a_uniform_pick_with_its_propensity(client: httpx.Client) -> None:
    candidates = [{"id": str(item), "content": "", "source": "test", "features": {"item": item}} for item in range(5)]
    answer = client.post(f"/score/{CONTROL}", json={"user_id": "asked", "candidates": candidates}).json()
    assert answer["propensity"] == pytest.approx(1 / 5)
    assert answer["exploring"] is True


def test_the_ridge_policy_learns_from_the_replay_which_item_is_clicked() -> None:
    log = uniform_log(800, 4, clicked=[("1", 2), ("2", 2)])
    # Of their own, for others of the module click on other items, and half of what users believe is everybody's.
    with served() as address, Bandstand(address) as product:
        learner = replay(product, RIDGE, log, "learns", lambda: None)
        control = replay(product, CONTROL, log, "does not", lambda: None)
    assert 130 < learner.matches < 270  # 200 ± 12, and nearly 6 of those deviations each way
    assert 130 < control.matches < 270
    assert learner.clicks / learner.matches > 0.8
    assert control.clicks / control.matches < 0.45


def test_the_interaction_lets_the_user_change_the_order_of_the_items(client: httpx.Client) -> None:
    for user, item in [("1", 0), ("1", 1), ("2", 0), ("2", 1)] * 20:
        features = {"user_feature_0": user, "item": item, "position": 0}
        click = float((user, item) in {("1", 0), ("2", 1)})
        lesson = {"user_id": "two kinds of visitor", "tip_id": str(item), "reward": click, "features": features}
        assert client.post(f"/reward/{RIDGE}", json=lesson).json()["applied"]
    candidates = [
        {"id": str(item), "content": "", "source": "test", "features": {"item": item, "position": 0}}
        for item in range(2)
    ]
    question = {"user_id": "two kinds of visitor", "candidates": candidates, "ranking": True}
    for user, best in (("1", "0"), ("2", "1")):
        answer = client.post(f"/score/{RIDGE}", json=question | {"context": {"user_feature_0": user}}).json()
        assert answer["ranking"][0]["tip_id"] == best


def test_what_the_service_refuses_is_one_line_with_its_reason(product: Bandstand) -> None:
    log = uniform_log(2, 2, clicked=[])
    with pytest.raises(ReplayError, match="/score/of%2Fnobody was refused with 404: No policy"):
        replay(product, "of/nobody", log, "x", lambda: None)
    with pytest.raises(ReplayError, match=r"was refused with 422: .*features\.item"):
        replay(product, RIDGE, [log[0]._replace(item=0), log[0]._replace(item=80)], "x", lambda: None)


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "examples/open_bandit/replay.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
        # A developer's own settings, even wrong ones, are nothing to the service that the command starts.
        env=os.environ | {"API_KEYS": "mine:serve:secret", "ACTIVE_POLICY": "of-another-deployment", "COLUMNS": "80"},
    )


def table_row(out: str, name: str) -> list[str]:
    (line,) = (line for line in out.splitlines() if line.startswith(name))
    return line.removeprefix(name).split()


def test_the_command_serves_replays_and_sets_the_policies_beside_the_log(tmp_path: Path) -> None:
    log = uniform_log(240, 6, clicked=[("1", 0), ("2", 0)])
    kept = most_shown(log, 3)
    done = run(str(write(tmp_path / "log.csv.gz", build_cells(log))), "--items", "3")
    assert done.returncode == 0, done.stderr
    assert f"{len(kept)} impressions of 3 items" in done.stdout
    clicks = sum(row.click for row in kept)
    low, high = wilson(clicks, len(kept))
    own = [f"{clicks}", f"{clicks / len(kept):.2%}", f"{100 * low:.2f}–{100 * high:.2f}%"]
    assert table_row(done.stdout, "the log itself") == own
    for policy in (RIDGE, CONTROL):
        matches, expected = table_row(done.stdout, policy)[:2]
        assert expected == f"{len(kept) / 3:.0f}"
        assert abs(int(matches) - len(kept) / 3) < 6 * (len(kept) * 2 / 9) ** 0.5
        assert f"{len(kept)}/{len(kept)}" in done.stderr, "the progress bar reached its end"


def test_the_command_speaks_to_a_running_service(tmp_path: Path, client: httpx.Client) -> None:
    path = write(tmp_path / "log.csv", build_cells(uniform_log(30, 3, clicked=[])))
    before = client.get("/stats").json()["users"]
    done = run(str(path), "--url", str(client.base_url), "--api-key", "not asked for here", "--policy", CONTROL)
    assert done.returncode == 0, done.stderr
    assert CONTROL in done.stdout
    assert RIDGE not in done.stdout
    assert client.get("/stats").json()["users"] == before + 1


def test_the_command_ends_a_refusal_in_one_line_and_exit_code_2(tmp_path: Path) -> None:
    log = [row._replace(propensity=0.9) for row in uniform_log(30, 3, clicked=[])]
    done = run(str(write(tmp_path / "log.csv", build_cells(log))))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("replay: the log is not uniform: it shows 3 items")
    assert done.stderr.count("\n") == 1


# ── the real logs ────────────────────────────────────────────────────────────────────────────────────────────────────


@REAL
@pytest.mark.parametrize(("shop", "items", "clicks", "rows_of_ten"), [("all", 80, 38, 1464), ("men", 34, 46, 3185)])
def test_the_uniform_logs_are_taken(shop: str, items: int, clicks: int, rows_of_ten: int) -> None:
    log = read_log(DATA / f"obd_small_random_{shop}.csv.gz")
    require_uniform(log)
    assert (len(log), len({row.item for row in log}), sum(row.click for row in log)) == (10_000, items, clicks)
    assert len(most_shown(log, 10)) == rows_of_ten


@REAL
def test_the_thompson_log_is_refused_by_what_it_says_and_by_what_it_shows() -> None:
    log = read_log(DATA / "obd_small_bts_all.csv.gz")
    with pytest.raises(ReplayError, match="each propensity_score should be 1/80"):
        require_uniform(log)
    with pytest.raises(ReplayError, match="though its propensities say so"):
        require_uniform([row._replace(propensity=1 / 80) for row in log])


@REAL
@pytest.mark.parametrize("policy", [RIDGE, CONTROL])
def test_a_real_log_gives_about_n_over_k_matches(client: httpx.Client, product: Bandstand, policy: str) -> None:
    log = most_shown(read_log(DATA / "obd_small_random_all.csv.gz"), 10)
    outcome = replay(product, policy, log, f"real, {policy}", lambda: None)
    assert 80 < outcome.matches < 213  # 146.4 ± 11.5, nearly 6 of those deviations each way
    assert load_learned(client, policy, f"real, {policy}") == (1464, outcome.matches, outcome.clicks)


@pytest.mark.slow
@REAL
def test_the_readme_states_the_matches_to_expect() -> None:
    readme = (ROOT / "examples" / "open_bandit" / "README.md").read_text(encoding="utf-8")
    for shop in ("all", "men"):
        log = read_log(DATA / f"obd_small_random_{shop}.csv.gz")
        for part, name in ((log, f"`random_{shop}`"), (most_shown(log, 10), f"`random_{shop}`, `--items 10`")):
            items = len({row.item for row in part})
            assert f"| {name} | {len(part):,} | {items} | {len(part) / items:.0f} |" in readme
