"""``bandstand simulate``: what it prints is what was played, and neither a signal nor a kill loses it.

What needs a process of its own, to be stopped or beside an event loop of the test's, gets one. The others are run here.
"""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from bandstand.cli import main
from bandstand.simulate.figures import build_figures
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.result import build_result
from bandstand.store.tables.simulations import Simulations
from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedRequest, ScriptedServer
from tests.contract.server import start_server
from tests.simulate.given import is_close, play_plan

SMALL = ("--policy", "linucb-v1", "--policy", "linucb-v2", "--personas", "3", "--days", "4", "--seeds", "2")
LONG = ("--policy", "linucb-v1", "--policy", "egreedy-v1", "--personas", "10", "--days", "60", "--seeds", "10")
SLOW = "sh -c 'sleep 0.05; echo done'"


@contextlib.contextmanager
def begin_run(state: Path, *flags: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "bandstand", "simulate", "--state-dir", str(state), *flags]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=os.environ | environment) as process:
        try:
            yield process
        finally:
            process.kill()


def run_simulate(state: Path, *flags: str, **environment: str) -> tuple[int, str, str]:
    """Run the command here; its exit code and what it wrote."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["bandstand", "simulate", "--state-dir", str(state), *flags])
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


async def run_beside(state: Path, *flags: str, **environment: str) -> tuple[int, str, str]:
    """The same in a process of its own, while this event loop goes on."""

    def communicate() -> tuple[int, str, str]:
        with begin_run(state, *flags, **environment) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    return await asyncio.to_thread(communicate)


def read_result(state: Path, *flags: str, **environment: str) -> dict[str, Any]:
    """The JSON object of a run that goes well."""
    code, out, err = run_simulate(state, *flags, "--json", **environment)
    assert code == 0, err
    (line,) = out.splitlines()
    answer: dict[str, Any] = json.loads(line)
    return answer


def outcome(answer: dict[str, Any]) -> dict[str, Any]:
    """What a run came to, without what differs from one time to the next."""
    return {name: value for name, value in answer.items() if name not in {"run", "seconds"}}


def wait_until_underway(state: Path, decisions: int) -> None:
    """Wait until the first run has come so far."""
    for _ in range(1200):
        if (state / "simulations.db").exists():
            run = Simulations(state).get(1, time.time())
            if run is not None and run.done >= decisions:
                return
        time.sleep(0.05)
    raise AssertionError("the run did not get there")


async def test_the_json_is_what_the_same_plan_comes_to_in_any_process(tmp_path: Path) -> None:
    code, out, err = await run_beside(tmp_path, *SMALL, "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    plan = Plan.from_document(answer["plan"])
    expected = build_result(plan, (await play_plan(plan)).tally, run=1, state="done", seconds=answer["seconds"])
    assert answer == json.loads(json.dumps(expected))
    for policy in answer["policies"].values():
        assert {"mean_reward", "stderr", "gap_closed", "regret"} <= policy.keys()
        curve = policy["by_decision"]
        assert (
            len(curve["mean_reward"]) == len(curve["stderr"]) == len(curve["gap_closed"]) == len(curve["regret"]) == 16
        )


def test_the_table_shows_the_numbers_of_the_json(tmp_path: Path) -> None:
    code, out, err = run_simulate(tmp_path, *SMALL)
    assert (code, err) == (0, "")
    answer = read_result(tmp_path, "--resume", "1")
    for name, policy in answer["policies"].items():
        (row,) = [line for line in out.splitlines() if f" {name} " in line and "±" in line]
        cells = [cell.strip() for cell in re.split("[│┃]", row)[1:-1]]
        assert cells == [
            name,
            f"{policy['mean_reward']:.4f} ± {policy['stderr']:.4f}",
            f"{policy['expected_reward']:.4f} ± {policy['expected_stderr']:.4f}",
            f"{policy['gap_closed']:.1%} ± {policy['gap_stderr']:.1%}",
            f"{policy['regret']:.4f}",
            *(f"{policy['actions'][action]:.1%}" for action in ("done", "snooze", "dismiss")),
        ]
    assert "Run 1: 192 of 192 decisions, shipped personas, 2 seeds, judge rule" in out
    for bound, values in answer["baselines"].items():
        assert re.search(rf"│ {bound} .* {values['mean_reward']:.4f} ± {values['stderr']:.4f} ", out)


def test_the_windows_of_the_table_add_up_the_curves(tmp_path: Path) -> None:
    _, out, _ = run_simulate(tmp_path, *SMALL)
    answer = read_result(tmp_path, "--resume", "last")
    bounds = {name: bound["by_decision"]["mean_reward"] for name, bound in answer["baselines"].items()}
    for name, policy in answer["policies"].items():
        expected = policy["by_decision"]["expected_reward"]
        cells = []
        for steps in (range(10), range(10, 16)):
            earned = sum(expected[step] - bounds["random"][step] for step in steps)
            cells.append(f"{earned / sum(bounds['oracle'][step] - bounds['random'][step] for step in steps):.1%}")
        assert re.search(rf"│ {name} +│ +{cells[0]} │ +{cells[1]} │", out), out


def test_interrupted_it_keeps_what_is_done_and_resumed_it_ends_as_if_never_stopped(tmp_path: Path) -> None:
    with begin_run(tmp_path / "one", *LONG, "--json") as process:
        wait_until_underway(tmp_path / "one", 1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err == "Interrupted; to go on: bandstand simulate --resume 1\n"
    half = json.loads(out)
    assert half["state"] == "interrupted"
    assert 0 < half["decisions"] < half["total"]
    assert half["decisions"] == sum(policy["decisions"] for policy in half["policies"].values())
    resumed = read_result(tmp_path / "one", "--resume", "1")
    assert is_close(outcome(resumed), outcome(read_result(tmp_path / "other", *LONG)))
    assert resumed["state"] == "done"
    again = read_result(tmp_path / "one", "--resume", "1")
    assert is_close(outcome(again), outcome(resumed)), "a run that is done is told again"


def test_killed_in_the_middle_it_goes_on_from_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (*SMALL, "--judge", "command", "--judge-command", SLOW, "--concurrency", "2")
    with begin_run(tmp_path, *flags) as process:
        wait_until_underway(tmp_path, 8)
        process.kill()
        process.communicate(timeout=120)
    kept = Simulations(tmp_path).get(1, time.time())
    assert kept is not None
    code, _, err = run_simulate(tmp_path, "--resume", "1")
    assert (code, err) == (2, "bandstand: Run 1 is being played by another process, or has been ended.\n")
    # Its last sign of life is too fresh to tell it from one that only pauses: let time pass.
    connection = sqlite3.connect(tmp_path / "simulations.db", isolation_level=None)
    connection.execute("UPDATE sim_runs SET heartbeat = heartbeat - 60")
    connection.close()
    resumed = read_result(tmp_path, "--resume", "1", "--concurrency", "8")
    assert (resumed["state"], resumed["decisions"]) == ("done", 192)
    assert kept.done >= 8


def test_a_run_is_taken_from_under_it_by_a_cancel(tmp_path: Path) -> None:
    with begin_run(tmp_path, *LONG) as process:
        wait_until_underway(tmp_path, 1)
        Simulations(tmp_path).cancel(1, time.time())
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("bandstand: The run was cancelled, deleted or continued elsewhere")


def test_against_a_running_service_it_says_what_the_service_learned(tmp_path: Path) -> None:
    flags = ("--policy", "first-v1", "--personas", "2", "--days", "2", "--seeds", "1", "--events", "all")
    with start_server(tmp_path / "service", API_KEYS="sim:serve:s3cret", DURABILITY="process") as server:
        url = f"http://127.0.0.1:{server.port}"
        proxies = {"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}
        answer = read_result(tmp_path, *flags, "--url", url, BANDSTAND_API_KEY="s3cret", **proxies)
        assert answer["policies"]["first-v1"]["decisions"] == 16
        code, _, err = run_simulate(tmp_path, *flags, "--url", url)
        assert code == 2
        assert "answered 401" in err
    run = Simulations(tmp_path).get(2, time.time())
    assert run is not None
    assert run.state == "failed"
    assert run.error is not None
    assert "answered 401" in run.error
    code, _, err = run_simulate(tmp_path, "--resume", "2")
    assert (code, err) == (2, f"bandstand: {url} cannot be reached: ConnectError\n")


def test_a_world_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    table = '[[personas]]\nname = "{}"\nprefers_high_priority = {}\nprefers_overdue = 0.5\n'
    file.write_text(table.format("Ada", -1) + table.format("Bea", 1), encoding="utf-8")
    answer = read_result(tmp_path, "--policy", "linucb-v1", "--world", str(file), "--days", "2", "--seeds", "2")
    assert set(answer["personas"]["linucb-v1"]) == {"Ada", "Bea"}
    assert answer["plan"]["personas"] == 2
    file.unlink()
    assert is_close(outcome(read_result(tmp_path, "--resume", "1")), outcome(answer)), "the run holds its personas"


def test_the_report_is_written(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    answer = read_result(tmp_path, *SMALL, "--html", str(file))
    page = file.read_text(encoding="utf-8")
    block = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert block is not None
    assert json.loads(block[1]) == build_figures(answer, answer["plan"]["decisions_per_day"])
    code, _, err = run_simulate(tmp_path, "--resume", "1", "--html", str(tmp_path / "gone" / "report.html"))
    assert code == 2
    assert "No such file or directory; the run is kept: bandstand simulate --resume 1 --html FILE" in err


def test_a_command_judges_and_its_failures_are_told(tmp_path: Path) -> None:
    code = "import sys; print('dismiss' if '\"overdue\": true' in sys.stdin.read() else 'hm')"
    flags = ("--policy", "first-v1", "--personas", "2", "--days", "1", "--seeds", "1", "--events", "all")
    judge = ("--judge", "command", "--judge-command", f"{sys.executable} -S -c {json.dumps(code)}")
    answer = read_result(tmp_path, *flags, *judge)
    counts = {(each["judge"], each["fallback"]): each["decisions"] for each in answer["policies"]["first-v1"]["judges"]}
    assert counts.keys() == {("command", None), ("rule", "unreadable")}
    for row in Simulations(tmp_path).iter_events(1):
        overdue, action, judge_name, fallback = row[9], row[14], row[19], row[20]
        assert (judge_name, fallback) == (("command", None) if overdue else ("rule", "unreadable"))
        assert action == "dismiss" or not overdue
    _, out, _ = run_simulate(tmp_path, "--resume", "1")
    assert f"first-v1: {counts['rule', 'unreadable']} decided by rule (unreadable)" in out


async def test_a_model_judges_over_the_openai_wire(tmp_path: Path) -> None:
    def answer(request: ScriptedRequest) -> ScriptedAnswer:
        asked.append(request)
        if '"priority": 4' in request.message_texts[0]:
            return ScriptedAnswer("**Done**.")
        return ScriptedAnswer("oops", status=400)

    asked: list[ScriptedRequest] = []
    flags = ("--policy", "first-v1", "--personas", "3", "--days", "2", "--judge", "llm", "--judge-model", "tiny")
    async with ScriptedServer(answer) as server:
        run = (tmp_path, *flags, "--judge-url", server.url, "--json")
        code, out, err = await run_beside(*run, OPENAI_API_KEY="s3cret")
    assert code == 0, err
    assert err == "tiny at 127.0.0.1 is asked up to 24 questions\n"
    (policy,) = json.loads(out)["policies"].values()
    counts = {(each["judge"], each["fallback"]): each["decisions"] for each in policy["judges"]}
    assert counts.keys() == {("llm", None), ("rule", "llm-status")}
    assert len(asked) == sum(counts.values()) == 24
    assert {request.headers["authorization"] for request in asked} == {"Bearer s3cret"}
    assert {request.body["model"] for request in asked} == {"tiny"}
    assert "s3cret" not in (tmp_path / "simulations.db").read_bytes().decode("latin-1")


def test_without_a_key_the_contract_s_model_is_not_asked_and_the_rule_decides(tmp_path: Path) -> None:
    flags = ("--policy", "first-v1", "--personas", "2", "--days", "1")
    with_llm, err = run_with_stderr(tmp_path / "llm", *flags, "--judge", "llm")
    assert err == "ANTHROPIC_API_KEY is unset: the rule judges\n"
    by_rule = read_result(tmp_path / "rule", *flags, "--seeds", "1")
    assert with_llm["policies"]["first-v1"]["judges"] == [{"judge": "rule", "fallback": "no-key", "decisions": 8}]
    assert with_llm["policies"]["first-v1"]["by_decision"] == by_rule["policies"]["first-v1"]["by_decision"]


def run_with_stderr(state: Path, *flags: str) -> tuple[dict[str, Any], str]:
    code, out, err = run_simulate(state, *flags, "--json")
    assert code == 0, err
    return json.loads(out), err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--policy", "nobody"), "No policy of that name is configured."),
        (("--days", "0"), "The world is not valid: days must be 1 or more."),
        (("--seeds", "0"), "The simulation is not valid: seeds must be 1 or more."),
        (("--policy", "linucb", "--policy", "linucb-v1"), "policies must name at least one policy, and none twice"),
        (("--world", "unifrom"), "--world 'unifrom' is neither shipped, uniform, signed nor a file that can be read"),
        (("--judge", "command"), "judge.command goes with the judge command, which needs it"),
        (("--judge-command", "sh"), "judge.command goes with the judge command, which needs it"),
        (("--judge", "llm", "--judge-url", "http://localhost"), "judge.url goes with the judge llm, and needs a model"),
        (("--resume", "7"), "There is no run 7 in "),
        (("--resume", "last"), "There is no run last in "),
        (("--resume", "1", "--days", "3"), "--resume continues a run as it was planned: leave the other flags out"),
        (("--url", "localhost:8000"), "--url must start with http:// or https:// and name a host"),
    ],
)
def test_what_is_refused_is_one_line_and_exit_code_2(tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    code, out, err = run_simulate(tmp_path / "state", *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bandstand: ")
    assert message in err
    states = [run.state for run in Simulations(tmp_path / "state").list_page(before=None, limit=9, now=time.time())]
    assert states in ([], ["failed"]), "no run is left as if somebody played it"


def test_a_policy_that_is_defined_otherwise_now_is_not_continued(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    definition = '[policies.mine]\nkind = "egreedy"\nschema = "tips-7"\nepsilon = {}\n'
    config.write_text(definition.format(0.1), encoding="utf-8")
    flags = ("--policy", "mine", "--personas", "1", "--days", "1", "--seeds", "1")
    read_result(tmp_path, *flags, BANDSTAND_CONFIG=str(config))
    config.write_text(definition.format(0.2), encoding="utf-8")
    code, _, err = run_simulate(tmp_path, "--resume", "1", BANDSTAND_CONFIG=str(config))
    assert code == 2
    assert "the definition of mine has changed since" in err


# ── where users talk ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_where_users_talk_the_judge_s_errors_and_their_cost_are_told(tmp_path: Path) -> None:
    answer = read_result(tmp_path, *SMALL, "--chat", "local")
    assert list(answer["policies"]) == ["linucb-v1", "linucb-v2", "linucb-v1 by truth", "linucb-v2 by truth"]
    chat = answer["plan"]["chat"]
    assert (chat["tier"], chat["gate"], chat["tau"]) == ("local", "hard", 0.6)
    assert chat["judge"].startswith("rules@")
    for heard in answer["hearing"].values():
        assert heard["turns"] == 3 * 4 * 4 * 2
        assert 0 < heard["coverage"] < 1
        assert {"mean", "stderr"} <= heard["regret_cost"].keys()
    shown = run_simulate(tmp_path, "--resume", "last")[1]
    for words in ("local reads what they say, hard gate", "neg. precision", "regret cost", "heard as negative"):
        assert words in shown


def test_the_gate_and_its_threshold_are_flags_or_settings(tmp_path: Path) -> None:
    run = (*SMALL, "--chat", "rules")
    by_setting = read_result(tmp_path, *run, JUDGE_GATE="soft", JUDGE_TAU="0.9")
    by_flag = read_result(tmp_path, *run, "--gate", "soft", "--tau", "0.9")
    assert by_setting["hearing"] == by_flag["hearing"]
    assert by_flag["plan"]["chat"]["gate"] == "soft"
    code, _, err = run_simulate(tmp_path, *SMALL, "--tau", "0.5")
    assert code == 2
    assert "--chat" in err


@pytest.mark.slow
def test_a_stopped_conversation_goes_on_as_if_it_never_was(tmp_path: Path) -> None:
    flags = ("--policy", "linucb-v1", "--personas", "6", "--days", "60", "--seeds", "6", "--chat", "rules")
    with begin_run(tmp_path / "stopped", *flags) as process:
        wait_until_underway(tmp_path / "stopped", 300)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    went_on, whole = read_result(tmp_path / "stopped", "--resume", "last"), read_result(tmp_path / "whole", *flags)
    assert is_close(outcome(went_on), outcome(whole))


def test_a_conversation_is_not_continued_by_another_judge(tmp_path: Path) -> None:
    assert run_simulate(tmp_path, *SMALL, "--chat", "local")[0] == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "simulations.db")) as connection, connection:
        connection.execute("UPDATE sim_runs SET state = 'interrupted', plan = replace(plan, 'rules@', 'rules@0')")
    code, _, err = run_simulate(tmp_path, "--resume", "last")
    assert code == 2
    assert "its judge is another one since" in err


async def test_an_llm_may_read_what_users_say(tmp_path: Path) -> None:
    verdict = json.dumps({"rationale": "as it says", "label": "neutral", "confidence": 0.9})
    async with ScriptedServer(ScriptedAnswer(verdict)) as server:
        run = ("--policy", "first-v1", "--personas", "2", "--days", "1", "--seeds", "1", "--chat", "llm", "--json")
        environment = {"JUDGE_MODEL": "tiny", "JUDGE_URL": server.url}
        code, out, err = await run_beside(tmp_path, *run, **environment)
    assert (code, err) == (0, "tiny at 127.0.0.1 may be asked about 8 turns\n")
    heard = json.loads(out)["hearing"]["first-v1"]
    assert (heard["turns"], heard["unscored"], heard["coverage"]) == (8, 0, 1.0)
    assert 1 <= len(server.requests) <= 8
