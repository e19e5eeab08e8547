"""The directories of loops: one that goes is never taken for one that is there."""

from pathlib import Path

from bandstand.store.loop_directories import LoopDirectories


def make_loop(directories: LoopDirectories, name: str) -> Path:
    path = directories.get_path(name)
    path.mkdir(parents=True)
    (path / "ledger.db").write_bytes(b"")
    return path


def test_a_discarded_one_is_gone_and_its_neighbours_stay(tmp_path: Path) -> None:
    directories = LoopDirectories(tmp_path)
    for name in ("menu", "menu-2"):
        make_loop(directories, name)
    directories.discard("menu")
    directories.discard("menu")
    directories.discard("nobody")
    assert directories.list_names() == ["menu-2"]
    assert sorted(path.name for path in (tmp_path / "loops").iterdir()) == ["menu-2"]


def test_half_a_deletion_is_finished_and_does_not_stand_in_the_way_of_the_next(tmp_path: Path) -> None:
    directories = LoopDirectories(tmp_path)
    for _ in range(2):  # the first, and one of the same name after a process died in the middle
        make_loop(directories, "menu").replace(tmp_path / "loops" / ".deleted-menu")
        make_loop(directories, "menu")
        assert directories.list_names() == ["menu"], "what goes is none of them"
        directories.discard("menu")
    make_loop(directories, "menu").replace(tmp_path / "loops" / ".deleted-menu")
    directories.sweep()
    assert list((tmp_path / "loops").iterdir()) == []


def test_a_loop_s_directory_tells_the_service_s(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"")
    path = make_loop(LoopDirectories(tmp_path), "menu")
    assert LoopDirectories.find_outer(path) == tmp_path
    assert LoopDirectories.find_outer(tmp_path) is None
    assert LoopDirectories.find_outer(path / "population") is None
