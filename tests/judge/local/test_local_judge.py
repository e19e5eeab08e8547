import json
from pathlib import Path

import pytest

from bandstand.judge.local.classifier import Classifier, shipped_weights
from bandstand.judge.local.local_judge import Local
from bandstand.judge.local.rulebook import LANGUAGES, load_shipped_rules
from bandstand.judge.training.dataset import parse_rows
from bandstand.judge.training.evaluation import evaluate
from bandstand.judge.training.tier import LocalTier, Tier
from bandstand.judge.turn import Turn
from tests.judge.given import CORRECTION, FOLLOWUP, OFFERED, TOLD, local

UNSEEN = (Path(__file__).parents[1] / "unseen_turns.jsonl").read_text(encoding="utf-8").splitlines()


def label(message: str, answer: str = TOLD, question: str = "") -> str:
    return local().verdict(Turn(question, answer, message).cut()).label


@pytest.mark.parametrize(
    "no", ["no", "No, thanks!", "nope", "不用了，谢谢", "没有了", "no, gracias", "nein, danke", "nein"]
)
def test_no_after_an_offer_is_an_answer(no: str) -> None:
    assert label(no, OFFERED) == "neutral"
    assert label(no, "好了，还要再来一个吗？") == "neutral"


@pytest.mark.parametrize("no", ["no", "No.", "不对", "nein", "nope, wrong"])
def test_no_after_a_statement_is_a_complaint(no: str) -> None:
    assert label(no, TOLD) == "neg_correction"


@pytest.mark.parametrize("thanks", ["thanks", "thank you!", "谢谢", "gracias", "danke"])
def test_thanks_is_not_progress(thanks: str) -> None:
    assert label(thanks) in {"neutral", "pos_praise"}


@pytest.mark.parametrize(
    "message",
    [
        "sorry, I meant Lisbon",
        "my mistake, it's 42",
        "我说错了，是北京",
        "perdón, quise decir Lisboa",
        "sorry, ich meinte Oslo",
    ],
)
def test_self_correction_never_counts_against_the_answer(message: str) -> None:
    assert FOLLOWUP.label(label(message)).polarity == "other"
    said = local("correction-v1").verdict(Turn("", TOLD, message).cut())
    assert said.label == "self_correction"


def test_a_question_asked_again_is_a_restated_wish_in_any_script() -> None:
    assert (
        label("推荐一部轻松的喜剧电影", "推荐你看一部战争片。", "推荐一部轻松的喜剧电影吧") == "neg_constraint_restate"
    )
    assert (
        label("how do i renew my passport", "Passports are blue.", "How do I renew my passport?")
        == "neg_constraint_restate"
    )


@pytest.mark.parametrize("language", LANGUAGES)
async def test_sentences_it_never_saw(language: str) -> None:
    """Written for this test and in no corpus; by the same hand as the corpus, so easier than a stranger's."""
    chosen = [line for line in UNSEEN if json.loads(line)["language"] == language]
    found = await evaluate(local(), parse_rows(chosen, FOLLOWUP, strict=True).rows)
    assert found["n"] >= 25
    assert found["polarity"]["macro_f1"] >= 0.9
    assert found["gated"]["polarity"]["negative_precision"] == 1.0
    assert found["sign_flip_rate"] == 0


def test_no_unseen_sentence_is_in_the_corpus() -> None:
    corpus = Path(train_data(), "corpus")
    texts = "".join(path.read_text(encoding="utf-8") for path in corpus.glob("*.toml"))
    assert [line for line in UNSEEN if f'"{json.loads(line)["query_t1"]}"' in texts] == []


def train_data() -> Path:
    return Path(__file__).parents[3] / "src" / "bandstand" / "judge" / "data"


def test_a_rule_and_the_model_multiply() -> None:
    turn = Turn("", TOLD, "that's wrong").cut()
    evidence = local().evidence(turn)
    assert evidence.rule
    stated = {candidate.id: candidate.score for candidate in evidence.semantic}
    score = min(evidence.rule.score, 0.98)
    joined = {name: p * (score if name == evidence.rule.rule_id else (1 - score) / 6) for name, p in stated.items()}
    expected = {name: p / sum(joined.values()) for name, p in joined.items()}
    assert dict(evidence.verdict.probabilities) == pytest.approx(expected)


def test_the_evidence_is_ready_for_the_arbiter() -> None:
    evidence = local().evidence(Turn("", TOLD, "blue elephants").cut())
    assert evidence.rule is None
    assert [c.score for c in evidence.semantic] == sorted((c.score for c in evidence.semantic), reverse=True)
    assert {c.id for c in evidence.semantic} == set(FOLLOWUP.label_names)
    assert evidence.verdict == local().verdict(Turn("", TOLD, "blue elephants").cut())


def test_every_local_tier_is_a_tier() -> None:
    tiers: list[LocalTier] = [local(), Classifier.shipped("followup-v1"), load_shipped_rules(FOLLOWUP)]
    turn = Turn("", TOLD, "hm").cut()
    for tier in tiers:
        as_tier: Tier = tier
        assert tier.verdict(turn).tier == as_tier.name
        assert tier.verdict(turn).model == as_tier.model
        assert as_tier.taxonomy is not CORRECTION


async def test_judging_is_the_verdict() -> None:
    turn = Turn("", TOLD, "hm").cut()
    assert await local().judge(turn) == local().verdict(turn)


def test_a_teams_own_weights_take_the_place_of_the_shipped() -> None:
    own = Local.shipped(FOLLOWUP, shipped_weights("followup-v1"))
    assert own.model == local().model


def test_rules_and_model_must_agree_on_the_labels() -> None:
    with pytest.raises(ValueError, match="share a taxonomy"):
        Local(load_shipped_rules(CORRECTION), Classifier.shipped("followup-v1"))
