"""``bandstand judge``: measured, calibrated and trained on labelled files, with and without an LLM."""

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bandstand.cli import main
from bandstand.judge.artifacts import get_calibration_path, get_weights_path, read_calibrations, read_weights
from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedRequest, ScriptedServer
from tests.judge.given import FOLLOWUP

SAID = {
    "that's wrong, the total is off": "neg_correction",
    "as i said, no nuts please": "neg_constraint_restate",
    "i don't understand the second part": "neg_confusion",
    "perfect, exactly what i needed": "pos_praise",
    "great, and how would that look with three people?": "pos_progress",
    "ok": "neutral",
    "different topic: remind me to call mum": "topic_shift",
}
TEAM_TALK = {"that is a soggy boot": "negative", "chef's kiss": "positive", "brb": "other"}


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Judge = Callable[..., Said]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Judge:
    """Run ``bandstand judge`` in this process, with STATE_DIR at a folder of the test's own."""
    for name in ("JUDGE", "JUDGE_MODEL", "JUDGE_TAU", "JUDGE_GATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))

    def run(*words: object, **environment: str) -> Said:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["bandstand", "judge", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, *capsys.readouterr())

    return run


def row(message: str, **known: object) -> dict[str, Any]:
    return {"query_t": "plan the dinner", "answer_t": "Here is a plan.", "query_t1": message, **known}


def write_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in rows), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Seven turns, one of each label."""
    return write_file(tmp_path / "turns.jsonl", [row(message, label=label) for message, label in SAID.items()])


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """Ninety turns in words of a team's own, their polarity alone known."""
    talk = list(TEAM_TALK.items()) * 30
    return write_file(tmp_path / "team.jsonl", [row(message, polarity=polarity) for message, polarity in talk])


# ── evaluate ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_object_is_what_was_promised(judge: Judge, file: Path) -> None:
    found = judge("evaluate", file, "--json").json
    assert found["n"] == 7
    measures = {"macro_f1", "negative_precision", "negative_recall", "kappa", "confusion"}
    for side in (found, found["gated"]):
        assert measures <= side["polarity"].keys()
        assert "macro_f1" in side["labels"]
        assert {"ece", "sign_flip_rate"} <= side.keys()
    assert {"coverage", "llm_calls", "llm_calls_saved", "cost"} <= found.keys()
    assert (found["llm_calls"], found["cost"], found["skipped"]) == (0, 0.0, [])
    assert found["polarity"]["macro_f1"] == found["labels"]["macro_f1"] == 1.0


def test_a_person_sees_every_measure(judge: Judge, file: Path) -> None:
    shown = judge("evaluate", file).out
    for words in (
        "macro-F1",
        "negative precision",
        "κ",
        "ECE",
        "coverage",
        "sign flips",
        "always saying other",
        "cost",
    ):
        assert words in shown
    assert re.search(r"negative +3 +· +· ", shown)
    assert "7 turns cost none" in shown


@pytest.mark.parametrize("tier", ["rules", "local", "auto"])
def test_each_tier_judges(judge: Judge, file: Path, tier: str) -> None:
    found = judge("evaluate", file, "--tier", tier, "--json").json
    assert found["judge"]["tier"] == tier
    assert found["judge"]["model"].startswith("rules@")
    assert ("+" in found["judge"]["model"]) is (tier != "rules")


def test_the_gate_is_the_service_s(judge: Judge, file: Path) -> None:
    assert judge("evaluate", file, "--json").json["judge"]["tau"] == 0.6
    found = judge("evaluate", file, "--json", JUDGE_TAU="1", JUDGE_GATE="soft").json
    assert (found["judge"]["tau"], found["judge"]["gate"]) == (1.0, "soft")
    assert found["coverage"] == 6 / 7, "all but the change of topic"


def test_rows_of_which_only_the_polarity_or_the_topic_is_known_are_measured_by_it(judge: Judge, tmp_path: Path) -> None:
    rows = [row("that's wrong", polarity="negative"), row("ok", topic_shift=False), row("thanks", topic_shift=True)]
    file = write_file(tmp_path / "some.jsonl", rows)
    found = judge("evaluate", file, "--json").json
    assert (found["n"], found["polarity"]["n"], found["labels"]["n"], found["topic_shift"]["n"]) == (3, 1, 0, 2)
    assert found["labels"]["macro_f1"] is None
    assert "topic shifts" in judge("evaluate", file).out


def test_a_bad_row_is_named_by_its_line_and_skipped_or_refused(judge: Judge, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    good = json.dumps(row("\u2028ok\x85", label="neutral"), ensure_ascii=False)
    file.write_text(f'{good}\nnonsense\n\n{{"query_t1": 3}}\n{good}\n', encoding="utf-8")
    found = judge("evaluate", file, "--json")
    assert (found.code, found.json["n"]) == (0, 2)
    assert [each["at"] for each in found.json["skipped"]] == ["line 2", "line 4"]
    assert found.err.count("skipped") == 2
    assert "line 2: is not JSON" in found.err
    refused = judge("evaluate", file, "--strict")
    assert (refused.code, refused.out) == (2, "")
    assert "line 2" in refused.err
    assert "line 4" in refused.err


def test_a_file_of_another_kind_does_not_fill_the_screen(judge: Judge, tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("".join(f'{{"other{number}": 1}}\n' for number in range(500)) + file.read_text())
    assert len(judge("evaluate", other, "--json").err.splitlines()) == 21


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"{}\n"])
def test_a_file_without_labelled_turns_is_refused_in_one_line(judge: Judge, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "none.jsonl"
    if content is not None:
        file.write_bytes(content)
    for command in ("evaluate", "calibrate", "train"):
        said = judge(command, file)
        assert said.code == 2
        assert "none.jsonl" in said.err.splitlines()[-1]


# ── calibrate and train ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_calibration_is_used_from_then_on_and_named(judge: Judge, team: Path, tmp_path: Path) -> None:
    fitted = judge("calibrate", team, "--json").json
    (one,) = fitted["calibrations"]
    assert (one["tier"], one["examples"], one["target_precision"]) == ("local", 90, 0.8)
    assert fitted["written"] == str(get_calibration_path(tmp_path / "state"))
    assert [each.name for each in read_calibrations(tmp_path / "state").entries] == [one["name"]]
    after = judge("evaluate", team, "--json").json
    assert list(after["judge"]["calibrations"]) == [one["name"]]
    assert after["ece"] <= one["before"]["ece"]
    assert one["after"]["n"] == 90, "measured by what was fitted to the other four fifths"
    again = judge("calibrate", team, "--method", "platt", "--json").json
    assert [each.method for each in read_calibrations(tmp_path / "state").entries] == ["platt"]
    assert again["calibrations"][0]["before"] == one["before"], "the old calibration has no part in the new one"


def test_too_few_verdicts_calibrate_nothing(judge: Judge, file: Path, tmp_path: Path) -> None:
    said = judge("calibrate", file)
    assert said.code == 2
    assert "only 7 verdicts" in said.err
    assert not get_calibration_path(tmp_path / "state").exists()


def test_a_target_out_of_range_is_refused(judge: Judge, team: Path) -> None:
    said = judge("calibrate", team, "--target-precision", "1.5")
    assert said.code == 2
    assert "target precision" in said.err


@pytest.mark.slow
def test_training_teaches_a_team_s_own_words_and_is_used_from_then_on(judge: Judge, team: Path, tmp_path: Path) -> None:
    before = judge("evaluate", team, "--json").json
    trained = judge("train", team, "--name", "ours", "--json").json
    assert trained["model"].startswith("ours@")
    assert trained["before"]["polarity"] == before["polarity"]
    assert before["polarity"]["macro_f1"] < trained["after"]["polarity"]["macro_f1"] == 1.0
    weights = read_weights(tmp_path / "state", FOLLOWUP)
    assert weights is not None
    after = judge("evaluate", team, "--json").json
    assert f"ours@{weights.hash[:8]}" in after["judge"]["model"]
    assert after["polarity"]["macro_f1"] == 1.0


def test_training_needs_enough_rows(judge: Judge, file: Path, tmp_path: Path) -> None:
    said = judge("train", file)
    assert (said.code, said.out) == (2, "")
    assert "at least 20 rows" in said.err
    assert not get_weights_path(tmp_path / "state", FOLLOWUP).exists()


@pytest.mark.slow
def test_a_person_is_told_what_it_is_worth_and_a_calibration_of_other_weights_is_not_used(
    judge: Judge, team: Path
) -> None:
    for command in ("calibrate", "train"):
        shown = judge(command, team).out
        assert "other four fifths" in shown
        assert "a service uses it from its next start" in shown
    assert judge("evaluate", team, "--json").json["judge"]["calibrations"] == {}, "these are not the weights it was of"


# ── with an LLM ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_tier_llm_needs_a_model(judge: Judge, file: Path) -> None:
    said = judge("evaluate", file, "--tier", "llm")
    assert said.code == 2
    assert "JUDGE_MODEL" in said.err


async def test_llm_asks_about_every_turn_and_auto_only_where_it_is_not_sure(
    judge: Judge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path
) -> None:
    asked: list[str] = []

    def answer(request: ScriptedRequest) -> ScriptedAnswer:
        asked.append(" ".join(request.message_texts))
        said = next(label for message, label in SAID.items() if message in asked[-1].replace("&#39;", "'"))
        return ScriptedAnswer(json.dumps({"rationale": "as it says", "label": said, "confidence": 0.95}))

    async with ScriptedServer(answer) as server:
        environment = {"JUDGE_MODEL": "tiny", "JUDGE_URL": server.url, "JUDGE_PRICE": "1/2"}
        by_llm = await asyncio.to_thread(judge, "evaluate", file, "--tier", "llm", "--json", **environment)
        calls = len(asked)
        by_auto = await asyncio.to_thread(judge, "evaluate", file, "--tier", "auto", "--json")
    assert by_llm.err == "tiny at 127.0.0.1 is asked where the tier llm asks it\n"
    assert by_llm.json["llm_calls"] == calls == 7
    assert by_llm.json["labels"]["macro_f1"] == 1.0
    assert by_llm.json["cost"] > 0
    assert by_auto.json["llm_calls"] == len(asked) - calls < 7
    assert by_auto.json["llm_calls"] + by_auto.json["llm_calls_saved"] == 7
    assert by_auto.json["labels"]["macro_f1"] == 1.0


async def test_what_the_llm_cannot_say_is_counted_by_its_reason(judge: Judge, file: Path) -> None:
    async with ScriptedServer(ScriptedAnswer("no idea")) as server:
        run = ("evaluate", file, "--tier", "llm", "--json")
        found = (await asyncio.to_thread(judge, *run, JUDGE_MODEL="tiny", JUDGE_URL=server.url)).json
    assert found["unscored"] == {"bad_json": 7}
    assert (found["scored"], found["coverage"], found["cost"]) == (0, 0.0, None)
