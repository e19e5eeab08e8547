"""A file is replaced at once, or stays as it was."""

from pathlib import Path

import pytest

from bandstand.atomic_file import replace_file


@pytest.mark.parametrize("temporary", [None, "elsewhere.tmp"])
def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path, temporary: str | None) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with replace_file(file, temporary=tmp_path / temporary if temporary else None) as partial:
        partial.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), ValueError("no such content")])
def test_whatever_goes_wrong_leaves_the_old_file_alone(tmp_path: Path, failure: Exception) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def fail() -> None:
        with replace_file(file) as partial:
            partial.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "none" / "file") as partial:
        partial.write_text("new")
