"""The state directories of the other loops: ``loops/NAME`` in the default loop's."""

import shutil
from pathlib import Path

_FOLDER = "loops"
_TRASH = ".deleted-"


class LoopDirectories:
    """The folder that holds them.

    Args:
        state_dir: of the default loop.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / _FOLDER

    @staticmethod
    def find_outer(directory: Path) -> Path | None:
        """The outer state directory of a loop's directory; ``None`` if it belongs to no loop."""
        outer = directory.parent.parent
        return outer if directory.parent.name == _FOLDER and (outer / "ledger.db").is_file() else None

    def get_path(self, name: str) -> Path:
        """Where the state of a loop is."""
        return self._folder / name

    def is_taken(self, name: str) -> bool:
        """Whether there is a state of that name."""
        return self.get_path(name).exists()

    def list_names(self) -> list[str]:
        """The loops that have a ledger here."""
        return sorted(path.parent.name for path in self._folder.glob("[!.]*/ledger.db"))

    def discard(self, name: str) -> None:
        """Delete the state of a loop; idempotent.

        It has another name first: whatever ends the deletion, no half of it is ever taken for a loop's state.
        """
        self.sweep()
        if self.is_taken(name):
            self.get_path(name).replace(self._folder / f"{_TRASH}{name}")
        self.sweep()

    def sweep(self) -> None:
        """Finish what a process that died was deleting."""
        for path in self._folder.glob(f"{_TRASH}*"):
            shutil.rmtree(path)
