import pytest

from bandstand.judge.local.normalise import NormalisedTurn
from bandstand.judge.local.rulebook import load_shipped_rules, parse_rules
from bandstand.judge.local.rules import RepetitionRule, Rules
from bandstand.judge.turn import Turn
from tests.judge.given import CORRECTION, FOLLOWUP, OFFERED, TOLD, normalise_message

RULES = load_shipped_rules(FOLLOWUP)


def parse_own_rules(*definitions: dict[str, object]) -> Rules:
    return Rules(parse_rules([{"label": "neg_correction", "score": 0.9, **d} for d in definitions], FOLLOWUP), FOLLOWUP)


def label(message: str, answer: str = TOLD) -> str | None:
    match = RULES.find_best(normalise_message(message, answer))
    return match.label if match else None


@pytest.mark.parametrize(
    "no", ["no", "No.", "nope", "no thanks", "不用了", "没有了", "不", "no, gracias", "nein danke", "Nein"]
)
def test_no_is_an_answer_where_there_was_a_question(no: str) -> None:
    assert label(no, OFFERED) == "neutral"


@pytest.mark.parametrize("no", ["no", "No.", "nope", "不对", "不", "nein", "No!"])
def test_no_is_a_complaint_where_there_was_none(no: str) -> None:
    assert label(no, TOLD) == "neg_correction"


@pytest.mark.parametrize("answer", [TOLD, OFFERED])
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("That's wrong.", "neg_correction"),
        ("no, that's wrong", "neg_correction"),
        ("as I said, no nuts", "neg_constraint_restate"),
        ("按我说的，不要辣", "neg_constraint_restate"),
        ("按我說的，不要辣", "neg_constraint_restate"),
        ("I don't understand", "neg_confusion"),
        ("什么意思", "neg_confusion"),
        ("答非所问", "neg_correction"),
        ("exactly what I needed", "pos_praise"),
        ("太好了", "pos_praise"),
        ("no entiendo", "neg_confusion"),
        ("como te dije antes, ya te dije sin gluten", "neg_constraint_restate"),
        ("eso está mal", "neg_correction"),
        ("suena bien", "pos_praise"),
        ("das ist falsch", "neg_correction"),
        ("wie gesagt, ohne Nüsse", "neg_constraint_restate"),
        ("verstehe ich nicht", "neg_confusion"),
        ("genau das brauchte ich", "pos_praise"),
        ("by the way, how is the weather?", "topic_shift"),
        ("can you give me an example?", "pos_progress"),
    ],
)
def test_what_is_plain_is_plain_after_any_answer(message: str, expected: str, answer: str) -> None:
    assert label(message, answer) == expected


@pytest.mark.parametrize(
    "thanks", ["thanks", "Thank you!", "谢谢", "多谢", "gracias", "danke", "ok thanks", "thanks, bye"]
)
@pytest.mark.parametrize("answer", [TOLD, OFFERED])
def test_thanks_is_not_progress(thanks: str, answer: str) -> None:
    assert label(thanks, answer) == "neutral"


@pytest.mark.parametrize(
    "message",
    [
        "sorry, I was wrong, it is Paris",
        "my mistake, that's wrong, I meant the other file",
        "oops I meant 42, not 24",
        "我说错了，应该是北京",
        "不好意思，打错了，不对",
        "perdón, me equivoqué, está mal mi dato",
        "Entschuldige, ich habe mich geirrt, das ist falsch von mir",
    ],
)
@pytest.mark.parametrize("answer", [TOLD, OFFERED])
def test_users_who_correct_themselves_do_not_count_against_the_answer(message: str, answer: str) -> None:
    assert label(message, answer) == "neutral"
    match = load_shipped_rules(CORRECTION).find_best(normalise_message(message, answer))
    assert match
    assert match.label == "self_correction"


def test_a_complaint_outweighs_the_praise_beside_it() -> None:
    assert label("good idea but that's wrong") == "neg_correction"


def test_the_longest_phrase_counts_where_phrases_overlap() -> None:
    rules = parse_own_rules(
        {"id": "short", "any": ["wrong"]}, {"id": "long", "any": ["nothing wrong with it"], "label": "pos_praise"}
    )
    assert [match.rule_id for match in rules.matches(normalise_message("nothing wrong with it"))] == ["long"]
    assert [match.rule_id for match in rules.matches(normalise_message("wrong"))] == ["short"]


def test_a_phrase_may_be_silenced() -> None:
    rules = parse_own_rules({"id": "bad", "any": ["bad"], "unless": ["not bad"]})
    assert rules.find_best(normalise_message("bad answer"))
    assert rules.find_best(normalise_message("not bad, bad")) is None


@pytest.mark.parametrize(
    ("where", "message", "fires"),
    [
        ("anywhere", "well this one is bad i say", True),
        ("start", "bad i say", True),
        ("start", "this is bad", False),
        ("whole", "bad?!", True),
        ("whole", "bad luck", False),
        ("whole", "so bad", False),
    ],
)
def test_a_phrase_must_stand_where_its_rule_wants_it(where: str, message: str, *, fires: bool) -> None:
    rules = parse_own_rules({"id": "bad", "any": ["bad"], "where": where})
    assert (rules.find_best(normalise_message(message)) is not None) is fires


def test_fillers_do_not_count_as_words() -> None:
    assert label("well, um, no") == "neg_correction"
    assert label("oh okay, no thanks lol", OFFERED) == "neutral"


@pytest.mark.parametrize("phrase", [".*", "a|b", "(bad", "^no$", "[a-z]+"])
def test_a_phrase_is_a_literal_and_never_a_pattern(phrase: str) -> None:
    rules = parse_own_rules({"id": "mine", "any": [f"x {phrase} y"]})
    assert rules.find_best(normalise_message("no bad words at all")) is None


def test_case_accents_widths_and_apostrophes_make_no_difference() -> None:
    assert label("THAT’S WRONG") == label("thats wrong") == label("Ｔhat's wrong") == "neg_correction"
    assert label("no entendi") == label("No entendí") == "neg_confusion"


def test_the_same_question_again_is_a_complaint_in_any_script() -> None:
    for question in ("recommend a funny film for tonight", "推荐一部轻松的喜剧电影吧"):
        match = RULES.find_best(normalise_message(question, question=question))
        assert match
        assert (match.rule_id, match.label) == (RepetitionRule.rule_id, "neg_constraint_restate")


def test_the_rules_alone_are_a_tier_and_name_what_fired() -> None:
    said = RULES.verdict(Turn("", TOLD, "that's wrong").cut())
    assert (said.tier, said.rule, said.label) == ("rules", "en.says-wrong", "neg_correction")
    assert said.confidence > 0.9
    nothing = RULES.verdict(Turn("", TOLD, "blue elephants").cut())
    assert (nothing.label, nothing.rule) == ("neutral", None)
    assert nothing.confidence < 0.6


async def test_every_tier_can_be_awaited() -> None:
    turn = Turn("", TOLD, "that's wrong").cut()
    assert await RULES.judge(turn) == RULES.verdict(turn)


def test_the_model_names_the_rules_by_their_content() -> None:
    assert RULES.model == load_shipped_rules(FOLLOWUP).model
    more = load_shipped_rules(
        FOLLOWUP, parse_rules([{"id": "x", "label": "neutral", "any": ["x"], "score": 0.5}], FOLLOWUP)
    )
    assert more.model != RULES.model


def test_a_long_phrase_and_a_long_message_cost_a_step_a_word() -> None:
    longest = max(len(phrase) for rule in RULES.rules for phrase in (*rule.phrases, *rule.unless))
    assert longest <= 40
    hostile = NormalisedTurn("", ("no",) * 400, after_question=False, similarity=0.0)
    assert len(RULES.matches(hostile)) <= len(RULES.rules)
