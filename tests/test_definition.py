"""Reading definitions: names, hashes, suggestions."""

import pytest

from bandstand.definition import DefinitionTable, hash_definition, is_name, to_configuration_error
from bandstand.errors import FieldError


@pytest.mark.parametrize("name", ["a", "0", "linucb-v1", "tips.v2_x", "a" * 64])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "A", "-a", ".", "..", "_a", "a/b", "a b", "a\n", "é", "a" * 65])
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)


def test_the_hash_is_of_the_value_not_of_the_order() -> None:
    digest = hash_definition({"b": [1.0, True], "a": "人"})
    assert digest == hash_definition({"a": "人", "b": [1.0, True]})
    assert digest != hash_definition({"a": "人", "b": [True, 1.0]})
    assert len(digest) == 16
    assert set(digest) <= set("0123456789abcdef")


def test_a_table_reads_what_is_there() -> None:
    faults: list[FieldError] = []
    entries = {"text": "x", "number": 2, "integer": 3, "boolean": True, "sequence": [1], "texts": ["a", "b"]}
    table = DefinitionTable(entries, "here", faults)
    assert table.read_text("text") == "x"
    assert table.read_number("number", above=1.0) == 2.0
    assert table.read_integer("integer", minimum=1, maximum=3) == 3
    assert table.read_boolean("boolean", default=False) is True
    assert table.read_sequence("sequence") == [1]
    assert table.read_texts("texts") == ("a", "b")
    assert table.read_text("other", "default") == "default"
    assert table.read_number("more", 1.5) == 1.5
    assert table.read_texts("none") is None
    table.check_unknown_keys()
    assert faults == []


def test_all_faults_are_one_line_and_a_list() -> None:
    faults: list[FieldError] = []
    table = DefinitionTable({"perod": 24, "zzz": 1}, "here", faults)
    table.read_number("period")
    table.check_unknown_keys()
    error = to_configuration_error(faults)
    assert error.detail == (
        "here.period: is missing; here.perod: unknown 'perod', did you mean 'period'?; "
        "here.zzz: unknown 'zzz'; allowed: period"
    )
    assert list(error.errors) == faults
