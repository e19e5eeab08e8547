"""One process owns a state directory: an operating-system lock that a crash releases by itself."""

import contextlib
import fcntl
import os
from pathlib import Path

from bandstand.errors import ConfigurationError


class Ownership:
    """The lock on a state directory, held from construction until :meth:`release`.

    Raises:
        ConfigurationError: another process holds it, or the directory cannot be made or written.
    """

    def __init__(self, state_dir: Path) -> None:
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._file = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = f"STATE_DIR {str(state_dir)!r} cannot be written: {error.strerror}; name a writable directory"
            raise ConfigurationError(message) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            message = (
                f"STATE_DIR {str(state_dir)!r} is in use by another process; stop it, or name another directory "
                "(a running service takes commands by --url)"
            )
            raise ConfigurationError(message) from error
        with contextlib.suppress(OSError):  # a note for people, which a full disk may refuse
            os.truncate(self._file, 0)
            os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let another process own the directory."""
        os.close(self._file)
