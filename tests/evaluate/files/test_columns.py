import re

import pytest

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.files.columns import Columns, Layout
from bandstand.evaluate.files.table import Header

MANY = ["reward", "propensity", "action", "target_0", "target_1", "q_hat_0", "q_hat_1"]


def test_a_target_of_the_logged_action_is_preferred_for_it_is_less_to_read() -> None:
    layout = Columns().find_layout(Header((*MANY, "target")))
    assert layout == Layout("reward", "propensity", ("target",))
    assert layout.column_names == ["reward", "propensity", "target"]


def test_numbered_targets_come_with_the_action_and_models_where_they_are_wanted() -> None:
    assert Columns().find_layout(Header(tuple(MANY))) == Layout(
        "reward", "propensity", ("target_0", "target_1"), "action"
    )
    both = ("target_0", "target_1"), "action", ("q_hat_0", "q_hat_1")
    assert Columns().find_layout(Header((*MANY, "target")), model=True) == Layout("reward", "propensity", *both)


def test_more_than_ten_actions_are_in_the_order_of_their_numbers() -> None:
    header = ["reward", "propensity", "action", *sorted(f"target_{number}" for number in range(12))]
    assert Columns().find_layout(Header(tuple(header))).target == tuple(f"target_{number}" for number in range(12))


def test_columns_may_be_called_anything() -> None:
    columns = Columns.parse("reward=click, propensity=pscore,target=pi")
    assert columns.find_layout(Header(("click", "pscore", "pi"))) == Layout("click", "pscore", ("pi",))
    assert columns.find_layout(Header(("click", "pscore", "action", "pi_0", "pi_1"))).target == ("pi_0", "pi_1")
    assert (columns.describe_column("reward"), columns.describe_column("action")) == (
        "reward (column 'click')",
        "action",
    )
    assert Columns.parse("propensity=p,target=p").find_layout(Header(("p", "reward"))).column_names == [
        "reward",
        "p",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "click",
            "columns must be NAME=COLUMN, where NAME is one of reward, propensity, action, target, q_hat, propensities",
        ),
        ("reward=", "columns must be NAME=COLUMN"),
        ("rewards=click", "'rewards' is not a known name; did you mean 'reward'?"),
        ("reward=a,", "columns must be NAME=COLUMN"),
    ],
)
def test_what_is_no_name_of_a_column_is_refused(text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=re.escape(message)):
        Columns.parse(text)


def test_an_object_may_lack_its_reward_and_what_there_is_is_said_once() -> None:
    header = Header(("propensity", "reward", "ts"), open=True)
    with pytest.raises(EvaluationError, match="there are propensity, reward, ts; name it"):
        Columns().find_layout(header)
    assert Columns().find_layout(Header(("propensity", "target"), open=True)).reward == "reward"


@pytest.mark.parametrize(
    ("header", "model", "message"),
    [
        (["propensity", "target"], False, "no column 'reward'; there are propensity, target; name it with --columns"),
        (["reward", "propensities", "target"], False, "no column 'propensity'; did you mean 'propensities'?"),
        (["reward", "propensity"], False, "no column 'target' (nor target_0, target_1, …); there are"),
        (["reward", "propensity", "target_0", "target_1"], False, "no column 'action'; "),
        (["reward", "propensity", "action", "target_0", "target_2"], False, "'target_1' is none of them"),
        (["reward", "propensity", "target"], True, "every action, target_0, target_1 and so on; 'target' is that of"),
        (["reward", "propensity", "action"], True, "no column 'target_0'; there are reward, propensity, action"),
        (MANY[:-2], True, "no column 'q_hat_0'; "),
        (MANY[:-1], True, "no column 'q_hat_1'; did you mean 'q_hat_0'?"),
        ([*MANY, "q_hat_2"], True, "there are 3 columns of q_hat and 2 of target"),
        (
            [f"c{number}" for number in range(40)],
            False,
            "there are c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, …",
        ),
    ],
)
def test_a_column_that_is_missing_is_named_with_what_there_is(header: list[str], model: bool, message: str) -> None:
    with pytest.raises(EvaluationError, match=re.escape(message)):
        Columns().find_layout(Header(tuple(header)), model=model)
