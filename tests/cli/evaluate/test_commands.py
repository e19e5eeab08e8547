"""``bandstand evaluate``: candidates judged on a real ledger and on files, as tables, as JSON and as a page."""

import asyncio
import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bandstand.cli import main
from tests.evaluate.ledgers import persona_world, play_world
from tests.evaluate.world import FloatArray, World
from tests.store.given import DAY, NOON
from tests.store.populated import Served, catalogue_of

SHIPPED = catalogue_of()
WORLD = World()


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Evaluate = Callable[..., Said]


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Evaluate:
    """Run ``bandstand evaluate`` in this process, with STATE_DIR at a folder of the test's own."""
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["bandstand", "evaluate", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def true(tmp_path: Path) -> FloatArray:
    """A ledger logged by a uniform policy; the true mean reward of every candidate, (n, K)."""
    return play_world(tmp_path / "state", persona_world(users=8, days=15), "uniform-v1", catalogue=SHIPPED)


def values(said: Said) -> dict[str, dict[str, Any]]:
    """Every estimate by policy and estimator."""
    assert said.code == 0, said.err
    return {
        policy["policy"]: {each["estimator"]: each for each in policy["estimates"]} for policy in said.json["policies"]
    }


# ── over a ledger ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_configured_policy_can_be_evaluated_and_the_logger_gets_what_it_got(
    evaluate: Evaluate, true: FloatArray
) -> None:
    names = list(SHIPPED.policies)
    said = evaluate("--json", *(word for name in names for word in ("--policy", name)))
    found = values(said)
    assert list(found) == names
    log = said.json["log"]
    assert (log["decisions"], log["rewarded"], log["users"]) == (480, 480, 8)
    assert log["policies"] == {
        "uniform-v1": {"decisions": 480, "rewarded": 480, "mean_reward": pytest.approx(log["mean_reward"])}
    }
    for name in ("ips", "snips"):
        assert found["uniform-v1"][name]["value"] == pytest.approx(log["mean_reward"], rel=1e-12)
        assert found["uniform-v1"][name]["lift"] == pytest.approx(0.0, abs=1e-12)
        first = found["first-v1"][name]
        assert abs(first["value"] - true[:, 0].mean()) <= 3 * first["stderr"]
    assert found["linucb-v2"]["snips"]["value"] > found["linucb-v1"]["snips"]["value"]
    assert all(policy["how"] == "as trained on this log" for policy in said.json["policies"])
    assert {policy["rewards"] for policy in said.json["policies"]} == {480}


def test_a_person_gets_a_table_for_each_policy_and_what_speaks_against_it(evaluate: Evaluate, tmp_path: Path) -> None:
    play_world(tmp_path / "state", persona_world(users=4, days=5), "linucb-v1", catalogue=SHIPPED)
    said = evaluate("--policy", "thompson-v1", "--policy", "uniform-v1", "--estimators", "snips,clipped_ips:5")
    assert (said.code, said.err) == (0, "")
    for words in (
        "decided by linucb-v1  80, mean reward -",
        "thompson-v1, as trained on this log (taught by 80 rewards)",
        "uniform-v1, as trained on this log",
        "clipped_ips(clip=5)",
        "! the mean weight is",
        "of what the target does had probability 0 in the log",
    ):
        assert words in said.out
    assert "…" not in said.out


def test_it_reads_beside_a_service(evaluate: Evaluate, tmp_path: Path) -> None:
    async def serve() -> tuple[Said, Said]:
        async with Served(tmp_path / "state") as served:
            await served.live_history("anna")
            first = evaluate("--policy", "linucb-v2", "--json", "--missing-reward", "0")
            await served.live_history("anna")
            return first, evaluate("--policy", "linucb-v2", "--json", "--missing-reward", "0")

    before, after = asyncio.run(serve())
    assert (before.json["log"]["decisions"], after.json["log"]["decisions"]) == (6, 12)


def test_the_start_and_the_end_may_be_given_and_a_policy_be_frozen_at_the_start(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    async def serve() -> None:
        async with Served(tmp_path / "state") as served:
            for day in range(3):
                served.clock.now = NOON + day * DAY
                made = [await served.decide("anna", "egreedy-v1") for _ in range(20)]
                for number, decision_id in enumerate(made):
                    await served.reward(decision_id, (-1) ** number / 2 + day / 10)

    asyncio.run(serve())
    bounds = ("--since", "2025-06-16", "--until", "2025-06-17T00:00")
    said = evaluate("--policy", "egreedy-v1", "--frozen", *bounds, "--json", "--estimators", "ips")
    [policy] = said.json["policies"]
    assert (said.json["log"]["decisions"], policy["rewards"]) == (20, 20)
    assert policy["how"] == "frozen as of 2025-06-16"
    assert policy["estimates"][0]["value"] == pytest.approx(0.1, rel=1e-9)  # what it did itself that day
    learning = evaluate("--policy", "egreedy-v1", *bounds, "--json").json["policies"][0]
    assert (learning["rewards"], learning["how"]) == (40, "as trained on this log")
    cold = evaluate("--policy", "egreedy-v1", "--frozen", "--json").json["policies"][0]
    assert (cold["rewards"], cold["how"]) == (0, "frozen as of the start of the log")


def test_decisions_without_a_reward_are_left_out_or_given_one(evaluate: Evaluate, tmp_path: Path) -> None:
    async def serve() -> None:
        async with Served(tmp_path / "state") as served:
            made = [await served.decide("anna", "uniform-v1") for _ in range(10)]
            for decision_id in made[:5]:
                await served.reward(decision_id, 1.0)

    asyncio.run(serve())
    left_out = evaluate("--policy", "uniform-v1", "--json")
    assert values(left_out)["uniform-v1"]["ips"]["value"] == pytest.approx(1.0)
    assert (left_out.json["log"]["coverage"], left_out.json["missing_reward"]) == (0.5, None)
    counted = evaluate("--policy", "uniform-v1", "--json", "--missing-reward", "-0.5")
    assert values(counted)["uniform-v1"]["ips"]["value"] == pytest.approx(0.25)
    assert counted.json["missing_reward"] == -0.5


def test_a_ledger_is_named_by_its_directory_or_its_file(evaluate: Evaluate, tmp_path: Path, true: FloatArray) -> None:
    moved = (tmp_path / "state").rename(tmp_path / "elsewhere")
    expected = values(evaluate("--policy", "first-v1", "--state-dir", moved, "--json"))
    for source in (moved, moved / "ledger.db"):
        assert values(evaluate("--policy", "first-v1", "--from", source, "--json")) == expected
    assert expected["first-v1"]["ips"]["n"] == len(true)


@pytest.mark.usefixtures("true")
def test_flags_choose_estimators_intervals_and_aliases(evaluate: Evaluate) -> None:
    said = evaluate("--policy", "linucb", "--policy", "linucb-v1", "--estimators", "sndr,sg_ips:0.5,sndr", "--json")
    assert {name: list(found) for name, found in values(said).items()} == {"linucb-v1": ["sndr", "sg_ips(lambda_=0.5)"]}
    normal = values(evaluate("--policy", "first-v1", "--json"))["first-v1"]["snips"]
    resampled = values(evaluate("--policy", "first-v1", "--interval", "bootstrap", "--json"))["first-v1"]["snips"]
    assert resampled["value"] == normal["value"]
    assert resampled["low"] != normal["low"]
    assert resampled["low"] == pytest.approx(normal["low"], abs=normal["stderr"] / 3)


@pytest.mark.usefixtures("true")
def test_a_population_prior_is_fitted_as_often_as_the_deployment_says(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for rewards in ("50", "1000000"):
        monkeypatch.setenv("PRIOR_REFRESH_REWARDS", rewards)
        found[rewards] = values(evaluate("--policy", "thompson-v1", "--policy", "linucb-v1", "--json"))
    assert found["50"]["linucb-v1"] == found["1000000"]["linucb-v1"]
    assert found["50"]["thompson-v1"] != found["1000000"]["thompson-v1"]


@pytest.mark.usefixtures("true")
def test_a_report_is_written_that_needs_nothing_else(evaluate: Evaluate, tmp_path: Path) -> None:
    said = evaluate("--policy", "thompson-v1", "--html", tmp_path / "report.html")
    assert said.code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "thompson-v1, as trained on this log" in page
    assert "Plotly.newPlot" in page


# ── over files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_csv_needs_none_of_ours(evaluate: Evaluate, tmp_path: Path) -> None:
    log = WORLD.draw_log(4000, seed=71)
    chosen = log.target[np.arange(4000), log.action]
    file = tmp_path / "clicks.csv"
    np.savetxt(
        file, np.stack([log.reward, log.propensity, chosen], axis=1), delimiter=",", header="click,p,pi", comments=""
    )
    said = evaluate("--from", file, "--columns", "reward=click,propensity=p,target=pi", "--policy", "next", "--json")
    assert list(values(said)["next"]) == ["ips", "snips"]
    snips = values(said)["next"]["snips"]
    assert abs(snips["value"] - WORLD.value(WORLD.target)) <= 3 * snips["stderr"]
    assert said.json["policies"][0]["rewards"] is None
    assert not (tmp_path / "state").exists()
    table = evaluate("--from", file, "--columns", "reward=click,propensity=p,target=pi")
    assert "target, as its probabilities in the file have it" in table.out


def test_decisions_of_others_are_replayed_with_our_policies(evaluate: Evaluate, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    lines = []
    for number in range(300):
        priorities = generator.integers(1, 5, 3).tolist()
        pick = int(generator.integers(3))
        candidates = [{"features": {"priority": priority}} for priority in priorities]
        reward = 1.0 if priorities[pick] == 4 else -1.0
        told = {"candidates": candidates, "action": pick, "propensity": 1 / 3, "reward": reward}
        lines.append(json.dumps({"user_id": f"u{number % 5}", **told}))
    file = tmp_path / "decisions.jsonl"
    file.write_text("\n".join(lines))
    found = values(evaluate("--from", file, "--policy", "squarecb-v1", "--policy", "uniform-v1", "--json"))
    assert found["squarecb-v1"]["snips"]["lift"] > 0.3  # it learns what is liked
    assert found["uniform-v1"]["snips"]["lift"] == pytest.approx(0.0, abs=1e-9)
    cold = values(evaluate("--from", file, "--policy", "squarecb-v1", "--frozen", "--json"))
    assert abs(cold["squarecb-v1"]["snips"]["lift"]) < 0.2


ROWS = "reward,propensity,target\n1,0.5,0.5\n"
DECISION = '{"user_id": "a", "candidates": [{}], "action": 0, "propensity": 1, "reward": 1}\n'


@pytest.mark.parametrize(
    ("files", "words", "said"),
    [
        ({}, ["--policy", "linucb-v2"], "holds no ledger.db"),
        ({}, ["--from", "log.csv"], "log.csv: No such file or directory"),
        ({}, ["--from", "log"], "log: No such file or directory"),
        ({"log.txt": ""}, ["--from", "log.txt"], "log.txt: it is empty"),
        ({"log.csv": "a,b\n1,2\n"}, ["--from", "log.csv"], "log.csv: there is no column 'reward'; there are a, b"),
        ({"log.csv": ROWS + "x,1,1\n"}, ["--from", "log.csv"], "log.csv: line 3, column 'reward': not a number"),
        ({"log.csv": ROWS}, ["--from", "log.csv", "--columns", "a=b"], "columns: 'a' is not a known name"),
        ({"log.csv": ROWS}, ["--from", "log.csv", "--estimators", "dr"], "needs the probability of every action"),
        ({"log.csv": ROWS}, ["--from", "log.csv", "--estimators", "snip"], "did you mean snips?"),
        ({"log.csv": ROWS}, ["--from", "log.csv", "--estimators", "sg_ips:2"], "lambda_ of sg_ips must be in [0, 1]"),
        ({"log.csv": ROWS}, ["--from", "log.csv", "--estimators", "ips:x"], "ips: its parameter must be a number"),
        ({"log.csv": ROWS}, ["--from", "log.csv", "--frozen"], "--frozen goes with decisions"),
        ({"log.csv": ROWS}, ["--from", "2*.csv"], "2*.csv: no file matches the pattern"),
        (
            {"log.jsonl": DECISION},
            ["--from", "log.jsonl", "--jobs", "2"],
            "--jobs goes with files of rows, or of exported",
        ),
        ({"log.csv": ROWS}, ["--from", "log.csv", "--policy", "a", "--policy", "b"], "of one policy"),
        ({"log.csv": ROWS}, ["--from", "log.csv", "--missing-reward", "nan"], "must be a finite number"),
        ({"log.jsonl": DECISION}, ["--from", "log.jsonl"], "name a policy with --policy; configured are linucb-v1"),
        ({"log.jsonl": DECISION}, ["--from", "log.jsonl", "--policy", "thomson-v1"], "did you mean 'thompson-v1'?"),
        ({"log.jsonl": DECISION}, ["--from", "log.jsonl", "--since", "2026-01-01"], "--since goes with a ledger, or"),
        ({"log.jsonl": DECISION}, ["--from", "log.jsonl", "--columns", "reward=r"], "--columns goes with a file of"),
        ({"log.jsonl": DECISION + "{}"}, ["--from", "log.jsonl", "--policy", "linucb"], "log.jsonl: line 2: user_id: "),
        ({"log.parquet": "PAR?"}, ["--from", "log.parquet"], "log.parquet: "),
        ({"state/ledger.db": "no database" * 999}, ["--policy", "linucb"], "cannot be used"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    refused = evaluate(*words, "--html", "report.html")
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err
    assert refused.err.startswith("bandstand: ")
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("true")
def test_a_report_that_cannot_be_written_is_one_line_too(evaluate: Evaluate, tmp_path: Path) -> None:
    refused = evaluate("--policy", "linucb-v2", "--html", tmp_path / "nowhere" / "report.html")
    assert (refused.code, refused.out) == (2, "")
    assert "report.html': No such file or directory" in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.usefixtures("true")
@pytest.mark.parametrize("flag", ["--since", "--until"])
def test_a_time_is_iso_8601(evaluate: Evaluate, flag: str) -> None:
    refused = evaluate("--policy", "linucb-v2", flag, "yesterday")
    assert refused.err == (f"bandstand: {flag}: 'yesterday' is no time; write 2026-01-31 or 2026-01-31T12:00+01:00\n")
    early, late = "2024-01-01", "2030-01-01T00:00+02:00"
    assert evaluate("--policy", "linucb-v2", flag, late if flag == "--until" else early).code == 0
    refused = evaluate("--policy", "linucb-v2", flag, early if flag == "--until" else late)
    assert (refused.code, refused.err) == (2, "bandstand: the log holds no decision to evaluate\n")


# ── as other tools write them ─────────────────────────────────────────────────────────────────────────────────────────


def dsjson_line(number: int) -> str:
    action = number % 2
    ranked = [action + 1, 2 - action]
    event = {"_label_cost": float(-action), "_label_probability": 0.75, "a": ranked, "p": [0.75, 0.25]}
    shared = {"User": {"hour_of_day": 9}, "_multi": [{"i": {"priority": 1}}, {"i": {"priority": 4}}]}
    return json.dumps({**event, "c": shared, "Timestamp": "2026-01-01T00:00:00Z"}) + "\n"


DSJSON = "".join(map(dsjson_line, range(40)))


@pytest.mark.parametrize("form", ["auto", "dsjson"])
def test_standard_input_is_read_as_its_content_has_it(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for text in (DSJSON, gzip.compress(DSJSON.encode())):
        piped = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(piped)))
        said = evaluate("--from", "-", "--policy", "uniform-v1", "--format", form, "--json")
        assert said.code == 0, said.err
        assert (said.json["source"], said.json["log"]["decisions"]) == ("standard input", 40)
        assert said.json["log"]["mean_reward"] == 0.5


def test_a_policy_that_reads_nothing_of_the_log_is_said_to(evaluate: Evaluate, tmp_path: Path) -> None:
    file = tmp_path / "log.dsjson"
    file.write_text(DSJSON.replace("priority", "taste"))
    lack = "no candidate of the log has a field that the schema tips-v2 reads (is_overdue, "
    said = evaluate("--from", file, "--policy", "linucb-v2").out
    assert f"! {lack}" in said
    assert "their features are taste" in said
    assert lack not in evaluate("--from", file, "--policy", "uniform-v1").out
    file.write_text(DSJSON)
    assert lack not in evaluate("--from", file, "--policy", "linucb-v2").out


def test_rows_may_come_from_standard_input_or_a_folder(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "sep=;\nreward;propensity;target\n1;0,5;0,25\nNA;1;1\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    piped = values(evaluate("--from", "-", "--json"))
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-0.csv").write_text(text)
    (tmp_path / "parts" / "_SUCCESS").touch()
    assert values(evaluate("--from", tmp_path / "parts", "--json")) == piped
    assert piped["target"]["ips"]["value"] == 0.5


def test_a_folder_of_decisions_is_one_log_and_a_fault_names_its_part(evaluate: Evaluate, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    for day in ("01", "02"):
        (folder / f"{day}.dsjson").write_text(DSJSON)
    said = evaluate("--from", folder, "--policy", "uniform-v1", "--json")
    assert said.json["log"]["decisions"] == 80
    with (folder / "02.dsjson").open("a") as file:
        file.write(dsjson_line(1).replace("0.75, 0.25", "0.25, 0.75"))
    refused = evaluate("--from", folder, "--policy", "uniform-v1")
    assert refused.code == 2
    assert refused.err.endswith(
        "logs: 02.dsjson, line 41: propensity is 0.75, and that of the pick in propensities 0.25\n"
    )


def test_a_form_can_be_named_and_must_be_the_file_s(evaluate: Evaluate, tmp_path: Path) -> None:
    file = tmp_path / "log.json"
    file.write_text(DSJSON)
    assert "there is no column 'propensity'" in evaluate("--from", file, "--format", "rows").err
    refused = evaluate("--from", file, "--format", "personalizer", "--policy", "uniform-v1")
    assert "line 1: is neither a rank call" in refused.err
    assert "--format goes with a file only" in evaluate("--format", "dsjson", "--policy", "uniform-v1").err


def test_a_folder_that_is_neither_is_a_state_directory_without_a_ledger(evaluate: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused = evaluate("--from", tmp_path / "empty", "--policy", "uniform-v1")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "ledger.db" in refused.err
