"""Files that are replaced in one step: a concurrent reader finds the old content or the new, never a part."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(path: Path, *, temporary: Path | None = None) -> Iterator[Path]:
    """Give a temporary path to write to, and put what was written there in the place of ``path``.

    Args:
        path: the file to be replaced; its folder must exist.
        temporary: where to write; ``path`` with ``.partial`` appended if not given. It is gone afterwards, in any case.

    Raises:
        OSError: it could not be written; the old file stands.
    """
    temporary = temporary or path.with_name(f"{path.name}.partial")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
