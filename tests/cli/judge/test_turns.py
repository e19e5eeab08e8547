"""``bandstand judge retry`` and ``reapply``: in a directory that nobody uses, and beside a service."""

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from bandstand import cli
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.tables.judgements import Conclusion, JudgedTurn
from tests.contract.server import start_server
from tests.store.given import CATALOGUE, QUICK, Subject, hash_body, ledger_of

Run = Callable[..., dict[str, Any]]
FEATURES = {"hour_of_day": 9, "is_overdue": True, "task_age_days": 3.0, "priority": 2}
TURN = {"query_t": "Capital?", "answer_t": "It is Sydney.", "query_t1": "No, that's wrong. It's Canberra."}


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    handlers, level, config = logging.root.handlers, logging.root.level, structlog.get_config()
    yield
    structlog.configure(**config)
    logging.root.handlers = handlers
    logging.root.setLevel(level)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    def run(*words: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["bandstand", "judge", *words, "--json"])
        monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in {0, None}
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return run


async def seed(state_dir: Path) -> None:
    """One turn that is unscored, and one that taught."""
    async with Subject(lambda clock: EmbeddedStore(state_dir, CATALOGUE, options=QUICK, clock=clock)) as subject:
        store = subject.store
        assert isinstance(store, EmbeddedStore)
        for number, label in enumerate((None, "neg_confusion")):
            decision = await subject.decide("anna")
            judgement = JudgedTurn(
                judgement_id="0" * 31 + str(number),
                seq=0,
                user_id="anna",
                policy=decision.policy,
                tip_id=decision.tip_id,
                taxonomy="followup-v1",
                body_hash=hash_body(str(number)),
                client="shop",
                ts=subject.clock(),
                decision_id=decision.decision_id,
                texts=("q", "a", "No, that's wrong.", ""),
            )
            taken = (await store.accept(judgement)).judgement
            conclusion = Conclusion(cause="judge", client="shop", state="unscored", reason="timeout")
            if label is not None:
                given = {"taxonomy": "followup-v1", "label": label, "confidence": 0.7, "tier": "llm", "model": "odd"}
                conclusion = Conclusion(
                    cause="judge",
                    client="shop",
                    verdict={"version": 1, "scored": True, "rationale": "", **given},
                    applied={"reward": -0.6, "should_update": True},
                    teach=-0.6,
                )
            await store.apply_conclusion(taken, conclusion)


def test_in_a_directory_that_nobody_uses(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(seed(tmp_path / "state"))
    assert run("retry", "--reason", "refusal")["retried"] == 0
    assert run("retry", "--since", "2025-06-01")["retried"] == 1
    with ledger_of(tmp_path / "state") as ledger:
        assert ledger.execute("SELECT count(*) FROM judgements WHERE state = 'waiting'").fetchone() == (1,)
    assert run("reapply", "--since", "2025-06-01") == {"ok": True, "looked_at": 1, "changed": 0, "out_of_reach": 0}
    monkeypatch.setenv("JUDGE_TAU", "0.9")
    assert run("reapply", "--since", "2030-06-01")["looked_at"] == 0
    assert run("reapply", "--since", "2025-06-01")["changed"] == 1
    with ledger_of(tmp_path / "state") as ledger:
        assert ledger.execute("SELECT cause, client FROM revocations").fetchall() == [("reapply", "command line")]


def test_a_service_is_told_what_to_try_again(run: Run, tmp_path: Path) -> None:
    asyncio.run(seed(tmp_path / "state"))
    with start_server(tmp_path / "state", DECISION_RETENTION_DAYS="0", TURN_RETENTION_DAYS="0") as server:
        url = f"http://127.0.0.1:{server.port}"
        assert run("retry", "--reason", "refusal", "--url", url)["retried"] == 0
        assert run("retry", "--since", "2030-06-01", "--url", url)["retried"] == 0
        assert run("retry", "--reason", "timeout", "--since", "2025-06-01T00:00", "--url", url)["retried"] == 1
        assert server.terminate() == 0


def test_beside_a_service(run: Run, tmp_path: Path) -> None:
    with start_server(tmp_path / "state") as server:
        url = f"http://127.0.0.1:{server.port}"
        turn = {"user_id": "ada", "tip_id": "tip-1", "features": FEATURES, "turn": TURN, "wait": True}
        judged = httpx.post(f"{url}/reward", json=turn, trust_env=False, timeout=60).json()
        assert judged["taught"]
        assert run("retry", "--url", url) == {"ok": True, "retried": 0, "left": 0}
        assert run("reapply", "--since", "2025-06-01", "--url", url)["looked_at"] == 1
        assert server.terminate() == 0
