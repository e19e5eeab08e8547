"""Files of learned priors: what was written is read, and nothing else is believed."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bandstand.store.learners.prior_file import VERSION, PriorFiles, iter_canonical

BODY = {"generation": 3, "members": ["ada", "\U0001f98a", "a/b"], "mean": [0.1, -1e-300]}


@pytest.fixture
def files(tmp_path: Path) -> PriorFiles:
    files = PriorFiles(tmp_path)
    files.write("linucb-v2", BODY)
    return files


def test_what_was_written_is_read_with_its_checksum(files: PriorFiles, tmp_path: Path) -> None:
    document = files.read("linucb-v2")
    assert document is not None
    checksum = document.pop("checksum")
    assert document == {"version": VERSION, "policy": "linucb-v2", **BODY}
    assert files.path("linucb-v2") == tmp_path / "population" / "linucb-v2.json"
    assert files.write("linucb-v2", BODY) == checksum
    assert files.write("linucb-v2", {**BODY, "generation": 4}) != checksum
    assert [path.name for path in files.path("linucb-v2").parent.iterdir()] == ["linucb-v2.json"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=20,
    )
)
@example([0.5] * 1000)
@example({"covariance": [[1.0] * 300] * 300, "a": []})
def test_pieces_are_what_one_call_writes(value: object) -> None:
    assert "".join(iter_canonical(value)) == json.dumps(value, separators=(",", ":"), sort_keys=True)


def test_what_was_never_written_is_not_there(tmp_path: Path) -> None:
    files = PriorFiles(tmp_path)
    assert files.read("linucb-v2") is None
    assert files.list_policies() == set()
    assert not files.delete("linucb-v2")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '{"version": 1}',
        '{"version": 1, "policy": "linucb-v2", "checksum": "0"}',
        "\x00" * 99,
    ],
)
def test_what_is_not_ours_is_set_aside(files: PriorFiles, tmp_path: Path, text: str) -> None:
    files.path("linucb-v2").write_text(text)
    assert files.read("linucb-v2") is None
    assert [path.read_text() for path in (tmp_path / "quarantine").iterdir()] == [text]
    assert files.read("linucb-v2") is None
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


@pytest.mark.parametrize("change", [{"generation": 2}, {"version": 2}, {"policy": "thompson-v1"}, {"members": []}])
def test_one_that_was_changed_or_is_anothers_is_set_aside(
    files: PriorFiles, tmp_path: Path, change: dict[str, object]
) -> None:
    document = json.loads(files.path("linucb-v2").read_text())
    files.path("linucb-v2").write_text(json.dumps({**document, **change}))
    assert files.read("linucb-v2") is None
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


def test_files_can_be_told_apart_and_deleted(files: PriorFiles) -> None:
    files.write("thompson-v1", BODY)
    assert files.list_policies() == {"linucb-v2", "thompson-v1"}
    assert files.delete("linucb-v2")
    assert files.list_policies() == {"thompson-v1"}


def test_a_disk_that_refuses_leaves_the_old_one(files: PriorFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.replace", raise_no_space)
        with pytest.raises(OSError, match="No space"):
            files.write("linucb-v2", {"generation": 9})
    document = files.read("linucb-v2")
    assert document is not None
    assert document["generation"] == 3
    assert [path.name for path in files.path("linucb-v2").parent.iterdir()] == ["linucb-v2.json"]
