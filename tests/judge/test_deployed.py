"""One judge a taxonomy."""

import pytest

from bandstand.errors import InvalidRequestError
from bandstand.judge.cascade import CascadeJudge
from bandstand.judge.deployed import JudgeRegistry
from tests.judge.given import CORRECTION, FOLLOWUP, local

JUDGES = JudgeRegistry(
    {name: CascadeJudge("local", local(name)) for name in ("followup-v1", "correction-v1")}, "followup-v1"
)


def test_a_judge_is_found_by_its_taxonomy() -> None:
    assert JUDGES.get_judge().taxonomy == JUDGES.get_judge("followup-v1").taxonomy == FOLLOWUP
    assert JUDGES.get_judge("correction-v1").taxonomy == CORRECTION
    assert JUDGES.taxonomies == (FOLLOWUP, CORRECTION)


def test_an_unknown_taxonomy_is_the_request_s_fault() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        JUDGES.get_judge("followup")
    assert [fault.field for fault in caught.value.errors] == ["taxonomy"]
