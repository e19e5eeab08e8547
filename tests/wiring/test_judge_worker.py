"""The judge's process sees the service's settings, secrets by its environment alone; what a turn may cost is bound."""

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from bandstand.config.judge import JudgePrice
from bandstand.config.settings import Settings
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.wiring.judge_worker import build_environment, build_judge_worker
from tests.store.given import CATALOGUE, QUICK, Clock


def settings(tmp_path: Path, **given: object) -> Settings:
    return Settings(state_dir=tmp_path / "state", **given)  # type: ignore[arg-type]  # as the command line gives them


def test_the_environment_says_settings_as_the_service_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_MODEL", "another")
    monkeypatch.setenv("JUDGE_DAILY_TOKENS", "10")
    monkeypatch.setenv("PROMPTS_DIR", "elsewhere")
    chosen = settings(
        tmp_path, judge_model="mine", openai_api_key=SecretStr("sk-1"), judge_price="0.05/0.40", prompts_dir=None
    )
    variables = build_environment(chosen)
    assert (variables["JUDGE_MODEL"], variables["OPENAI_API_KEY"]) == ("mine", "sk-1")
    assert "JUDGE_DAILY_TOKENS" not in variables, "budgets are kept in the ledger"
    assert "PROMPTS_DIR" not in variables
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("PROMPTS_DIR", "JUDGE_DAILY_TOKENS"):
        monkeypatch.delenv(name)
    read = Settings()
    assert (read.judge_model, read.state_dir, read.judge_deadline_s) == ("mine", tmp_path / "state", 180)
    assert read.judge_price == JudgePrice(Decimal("0.05"), Decimal("0.40"))


def test_what_a_turn_may_cost_is_bound_by_its_words(tmp_path: Path) -> None:
    clock = Clock()
    store = EmbeddedStore(tmp_path / "state", CATALOGUE, options=QUICK, clock=clock)
    population = PopulationPriorRefresher(CATALOGUE, store)
    chosen = settings(tmp_path, judge_model="mine", openai_api_key=SecretStr("sk-1"))
    judging = build_judge_worker(chosen, store, population, clock)
    bound = judging.options.compute_bound
    assert bound is not None
    short = bound(("q", "a", "m", "hints first"), "followup-v1")
    long = bound(("q", "a", "你" * 2000, "hints first"), "followup-v1")
    assert long.prompt_tokens - short.prompt_tokens == 3 * 2 * (3 * 2000 - 1), (
        "a token a byte, every request, every try"
    )
    assert short.completion_tokens == 3 * (2_048 + 8_192)


def test_without_a_model_nothing_is_reserved(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "state", CATALOGUE, options=QUICK)
    judging = build_judge_worker(settings(tmp_path), store, PopulationPriorRefresher(CATALOGUE, store), Clock())
    assert judging.options.compute_bound is None
