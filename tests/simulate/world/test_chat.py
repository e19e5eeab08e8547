import re
import tomllib
from importlib import resources
from typing import Any

import numpy as np
import pytest

from bandstand.judge.local.rulebook import LANGUAGES as TAUGHT
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.training.evaluation import evaluate
from bandstand.simulate.world import chat
from bandstand.simulate.world.chat import (
    Conversation,
    add_typo,
    compute_expected_reward,
    compute_label_shares,
    load_taxonomy,
)
from bandstand.simulate.world.persona import LANGUAGES, load_shipped_personas
from bandstand.simulate.world.tasks import Slates
from bandstand.simulate.world.world import Episode, World
from tests.judge.given import local

TALKING = World(personas=load_shipped_personas(), seed=3, days=40, conversations=True)
PHRASES: dict[str, Any] = tomllib.loads(
    resources.files("bandstand.simulate.world").joinpath("followups.toml").read_text(encoding="utf-8")
)
SENTENCES = [sentence for language in LANGUAGES for spoken in PHRASES[language]["says"].values() for sentence in spoken]


def strip_punctuation(sentence: str) -> str:
    """Letters and digits alone, without what fills a slot."""
    return "".join(sign for sign in re.sub(r"\{\w+\}", "", sentence).casefold() if sign.isalnum())


def load_corpus() -> set[str]:
    """Every sentence that the shipped judge learned from, whatever it stood for."""
    found: set[str] = set()
    for language in TAUGHT:
        source = resources.files("bandstand.judge").joinpath("data", "corpus", f"{language}.toml")
        corpus = tomllib.loads(source.read_text(encoding="utf-8"))
        found |= {strip_punctuation(text) for kind in ("openings", "closings", "asides") for text in corpus[kind]}
        found |= {strip_punctuation(text) for group in corpus["say"] for text in group["texts"]}
        found |= {
            strip_punctuation(text) for context in corpus["context"] for text in context["query"] + context["answer"]
        }
    return found


def get_conversation(episode: Episode) -> Conversation:
    assert episode.conversation is not None
    return episode.conversation


def test_no_sentence_is_one_that_the_judge_learned_from() -> None:
    corpus = load_corpus()
    assert len(corpus) > 2_000
    assert [sentence for sentence in SENTENCES if strip_punctuation(sentence) in corpus] == []
    # Nor does one hold a learned sentence of some length, with a word more around it.
    longer = {text for text in corpus if len(text) > 20 and text.isascii()}
    assert [sentence for sentence in SENTENCES if any(text in strip_punctuation(sentence) for text in longer)] == []


def test_every_language_has_sentences_of_every_label_and_none_twice() -> None:
    for language in LANGUAGES:
        assert PHRASES[language]["says"].keys() == set(load_taxonomy().label_names)
        assert min(len(spoken) for spoken in PHRASES[language]["says"].values()) >= 5
    assert len({strip_punctuation(sentence) for sentence in SENTENCES}) == len(SENTENCES)
    assert {slot for sentence in SENTENCES for slot in re.findall(r"\{(\w+)\}", sentence)} == {"limit"}


def test_every_task_has_a_chinese_title() -> None:
    titles = {each["content"] for step in range(160) for each in TALKING.build_episode(0).slates.get_candidates(step)}
    assert len(titles) == len(PHRASES["tasks"]["zh"]) == len(set(PHRASES["tasks"]["zh"]))


def test_the_shares_of_the_labels_sum_to_one_and_give_the_mean_reward() -> None:
    satisfaction = np.linspace(0, 1, 41)
    shares = compute_label_shares(satisfaction)
    assert shares.shape == (41, 7)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        compute_expected_reward(satisfaction), 0.7952 * satisfaction - 0.4592, rtol=0, atol=1e-12
    )


def test_what_never_teaches_tells_nothing_of_the_satisfaction() -> None:
    silent = [at for at, label in enumerate(load_taxonomy().labels) if not label.updates]
    assert np.ptp(compute_label_shares(np.linspace(0, 1, 11))[:, silent], axis=0) == pytest.approx(0)


def test_what_users_mean_has_the_mean_that_is_stated() -> None:
    """26 users by 160 steps by 5 candidates: 20,800 rewards of standard deviation below 0.6."""
    rewards, means = [], []
    world = World(personas=load_shipped_personas() + load_shipped_personas()[:10], seed=1, days=40, conversations=True)
    for user in range(len(world.personas)):
        episode = world.build_episode(user)
        rewards += [episode.get_reaction(step, k).reward for step in range(world.decisions_per_user) for k in range(5)]
        means.append(episode.expected_reward.mean())
    assert np.mean(rewards) == pytest.approx(np.mean(means), abs=4 * 0.6 / len(rewards) ** 0.5)


def test_the_same_seed_says_the_same_whoever_is_asked_and_for_however_long() -> None:
    longer, other = (
        World(personas=load_shipped_personas(), seed=3, days=50, conversations=True),
        TALKING.build_episode(4),
    )
    for step in (0, 7, 159):
        for candidate in range(5):
            assert other.get_turn(step, candidate) == longer.build_episode(4).get_turn(step, candidate)
            assert other.get_reaction(step, candidate) == longer.build_episode(4).get_reaction(step, candidate)


def test_conversations_leave_every_other_stream_alone() -> None:
    acting = World(personas=load_shipped_personas(), seed=3, days=40).build_episode(2)
    talking = TALKING.build_episode(2)
    for name in ("times", "engagement", "policy_draws", "judge_draws"):
        np.testing.assert_array_equal(getattr(acting, name), getattr(talking, name))
    np.testing.assert_array_equal(acting.slates.priority, talking.slates.priority)
    assert acting.conversation is None
    with pytest.raises(ValueError, match="conversations only"):
        acting.get_turn(0, 0)


def test_the_message_means_the_label_that_was_drawn() -> None:
    conversation = get_conversation(TALKING.build_episode(0))
    assert conversation.language == "en"
    known = {
        sentence: label for label, spoken in PHRASES["en"]["says"].items() for sentence in spoken if "{" not in sentence
    }
    said = [
        (conversation.get_turn(step, k).query_t1, conversation.label(step, k)) for step in range(160) for k in range(5)
    ]
    found = [(known[message], label) for message, label in said if message in known]
    assert len(found) > 400
    assert all(meant == label for meant, label in found)


def test_nothing_is_left_unfilled_and_every_language_is_spoken() -> None:
    spoken = set()
    for user, persona in enumerate(TALKING.personas):
        turns = [TALKING.build_episode(user).get_turn(step, step % 5) for step in range(60)]
        assert all("{" not in text for turn in turns for text in (turn.query_t, turn.answer_t, turn.query_t1))
        assert all(turn.query_t and turn.answer_t and turn.query_t1 for turn in turns)
        chinese = np.mean([any("\u4e00" <= sign <= "\u9fff" for sign in turn.query_t1) for turn in turns])
        assert {"en": chinese == 0, "zh": chinese == 1, "mixed": 0.3 < chinese < 0.95}[persona.language]
        spoken.add(persona.language)
    assert spoken == set(LANGUAGES)


def test_a_slip_is_one_place_inside_a_longer_word() -> None:
    assert {add_typo("that", 0.0, kind) for kind in (0.0, 0.4, 0.9)} == {"taht", "tat", "thhat"}
    assert add_typo("ok no", 0.3, 0.3) == "ok no", "too short to slip in"
    assert add_typo("你在吗", 0.0, 0.5) == "你再吗"
    assert add_typo("你在吗", 0.99, 0.5) == "你在嘛"
    assert add_typo("嗯", 0.5, 0.5) == "嗯"


@pytest.mark.parametrize("where", [0.0, 0.37, 0.999])
@pytest.mark.parametrize("kind", [0.0, 0.5, 0.999])
def test_a_slip_never_breaks_a_message(where: float, kind: float) -> None:
    for sentence in SENTENCES:
        typed = add_typo(sentence, where, kind)
        assert abs(len(typed) - len(sentence)) <= 1
        assert typed.strip()


@pytest.mark.slow
async def test_the_judge_hears_most_of_it_and_far_from_all() -> None:
    """Sentences that it has not seen: as on other unseen dialogues, about 0.72 by polarity; 1,600 turns."""
    episodes = [TALKING.build_episode(user) for user in range(len(TALKING.personas))]
    rows = [
        LabelledTurn(1, episode.get_turn(step, 0), label, load_taxonomy().label(label).polarity, None)
        for episode in episodes
        for step in range(100)
        for label in [episode.get_reaction(step, 0).action]
    ]
    found = await evaluate(local(), rows)
    assert 0.65 < found["polarity"]["macro_f1"] < 0.80
    assert found["gated"]["polarity"]["negative_precision"] > 0.8


def test_turns_take_as_many_draws_as_they_say() -> None:
    conversation = get_conversation(TALKING.build_episode(0))
    assert conversation.draws.shape[-1] == chat.DRAWS
    assert isinstance(conversation.slates, Slates)
