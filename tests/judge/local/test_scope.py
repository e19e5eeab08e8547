import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.judge.local.scope import find_scope
from bandstand.judge.local.tokens import normalise_text, split_tokens
from tests.judge.given import LAW


@pytest.mark.parametrize(
    ("message", "aside", "left"),
    [
        ('What does "this is wrong" mean?', "quoted", ""),
        ("Was heißt „das ist falsch“ auf Englisch?", "quoted", ""),
        ("¿qué significa «está mal» aquí?", "quoted", ""),
        ("“这是错的”是什么意思", "quoted", ""),
        ("Yesterday you were too long. How do tides work?", "historical", "how do tides work ?"),
        ("Gestern war es zu lang. Und heute?", "historical", "und heute ?"),
        ("Ayer fue demasiado largo. ¿Y hoy?", "historical", "y hoy ?"),
        ("昨天太长了。那今天呢？", "historical", "那 今 天 呢 ?"),
        ("My sister hates bullet points. Which shoes?", "other_person", "which shoes ?"),
        ("Mein Chef findet Listen furchtbar. Welche Schuhe?", "other_person", "welche schuhe ?"),
        ("Mi jefe odia las listas. ¿Qué zapatos?", "other_person", "que zapatos ?"),
        ("我老板讨厌列表。穿什么鞋？", "other_person", "穿 什 么 鞋 ?"),
        ("What if it were wrong?", "supposed", ""),
        ("Angenommen, es wäre falsch?", "supposed", ""),
        ("Supongamos que está mal.", "supposed", ""),
        ("假如我说这很无聊", "supposed", ""),
    ],
)
def test_what_does_not_speak_of_the_answer_is_set_aside(message: str, aside: str, left: str) -> None:
    scope = find_scope(normalise_text(message))
    assert (scope.aside, " ".join(scope.tokens)) == (aside, left)


@pytest.mark.parametrize(
    "message",
    [
        "that is wrong",
        '"this is wrong"',
        "better than yesterday",
        "as i told you yesterday: shorter",
        "it would be great if you could be brief",
        "wäre schön, wenn du dich kurz fasst",
        "we watched it yesterday and loved it",
        "还有其他推荐吗",
    ],
)
def test_what_speaks_of_the_answer_stays(message: str) -> None:
    text = normalise_text(message)
    assert find_scope(text).tokens == split_tokens(text)


@pytest.mark.parametrize(
    ("message", "decisive"),
    [
        ("nice, but too long", "too long"),
        ("toll, aber zu lang", "zu lang"),
        ("bonito, pero largo", "largo"),
        ("不错，但是太长", "太 长"),
        ("great. Only it crashes", "it crashes"),
        ("although a bit long, i loved it", "i loved it"),
        ("obwohl es lang war, mochte ich es", "mochte ich es"),
        ("i loved it, although it was long", "it was long"),
        ("the only one", ""),
        ("nice one though", ""),
        ("再好不过", "再 好 不 过"),
        ("schön, nur zu lang", "nur zu lang"),
        ("nochmal: nur drei Punkte", ""),
        ("just right", ""),
    ],
)
def test_what_follows_the_last_but_decides(message: str, decisive: str) -> None:
    assert " ".join(find_scope(normalise_text(message)).decisive) == decisive


@pytest.mark.parametrize(
    "message",
    [
        "three weeks ago it was too long.",
        "earlier this week you were rude.",
        "vor ein paar Tagen warst du zu knapp.",
        "letzten Montag nervte es.",
        "hace unos meses era un rollo.",
        "la semana pasada fue demasiado.",
        "上个月你太啰嗦。",
        "三天前太长了。",
    ],
)
def test_the_past_is_told_by_any_unit_of_time(message: str) -> None:
    scope = find_scope(normalise_text(message))
    assert (scope.aside, scope.tokens) == ("historical", ())


@pytest.mark.parametrize(
    "message", ["como te dije antes, máximo cien palabras", "按我之前的要求，不要写名字", "as i said before, no names"]
)
def test_who_says_it_again_speaks_of_now(message: str) -> None:
    assert find_scope(normalise_text(message)).aside == ""


def test_a_clause_about_somebody_of_the_users_is_theirs_where_something_was_chosen() -> None:
    message = normalise_text("my aunt would never read lists. which shoes?")
    assert find_scope(message, has_about=True).tokens == ("which", "shoes", "?")
    loved = normalise_text("my kids loved it")
    assert find_scope(loved).tokens == ("my", "kids", "loved", "it")
    assert find_scope(loved, has_about=True).tokens == ()


def test_a_but_takes_back_its_own_sentence_and_one_that_it_opens_the_sentence_before() -> None:
    first = find_scope(normalise_text("I hate it. The start is fine but the end is odd"))
    assert first.tokens[first.contrasted_from] == "the"
    second = find_scope(normalise_text("I hate it. But the end is odd"))
    assert second.contrasted_from == 0


@LAW
@given(st.text(max_size=400))
def test_nothing_is_added_to_a_message(text: str) -> None:
    scope = find_scope(text)
    words = list(split_tokens(text))
    for token in scope.tokens:
        words.remove(token)
    assert scope.decisive == scope.tokens[len(scope.tokens) - len(scope.decisive) :]
