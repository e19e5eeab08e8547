"""The path under which a proxy shows the service: what addresses on our pages must begin with.

A proxy may cut the prefix off before it asks us, and say so in ``X-Forwarded-Prefix``; or the deployment says it in
``ROOT_PATH``, and then the proxy may cut it off or leave it.
"""

import re
from collections.abc import Mapping

_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
_MAX_CHARS = 256


def parse_prefix(text: str) -> str | None:
    """A prefix as addresses begin with it, without a slash at the end; ``None`` if it is no path of ours.

    Two slashes at its beginning would name another host, dots would lead out of it.

    >>> parse_prefix("/bandit/"), parse_prefix("/a/b"), parse_prefix(""), parse_prefix("/")
    ('/bandit', '/a/b', '', '')
    >>> parse_prefix("//evil.example"), parse_prefix("/../a"), parse_prefix("bandit"), parse_prefix('/"onload=')
    (None, None, None, None)
    """
    prefix = text.removesuffix("/")
    return prefix if len(prefix) <= _MAX_CHARS and _PREFIX.fullmatch(prefix) else None


class PathPrefix:
    """Finds the prefix of a request, and the path that is ours.

    Args:
        root: the deployment's own, as :func:`parse_prefix` makes it.
        below: what follows a prefix in the addresses of one part of the service, such as ``/loops/NAME``.
    """

    def __init__(self, root: str = "", below: str = "") -> None:
        self._root = root
        self._below = below

    def strip(self, path: str) -> str:
        """The raw path without the deployment's prefix, should the proxy have left it there."""
        if self._root and path.startswith(self._root) and path[len(self._root) : len(self._root) + 1] in {"", "/"}:
            return path[len(self._root) :] or "/"
        return path

    def find(self, headers: Mapping[bytes, bytes]) -> str:
        """What addresses must begin with in the answer; proxies behind one another each give a part of it."""
        return self._find_outer(headers) + self._below

    def _find_outer(self, headers: Mapping[bytes, bytes]) -> str:
        given = headers.get(b"x-forwarded-prefix")
        if given is None:
            return self._root
        parts = [parse_prefix(part.strip()) for part in given.decode("latin-1").split(",")]
        return self._root if None in parts else "".join(part or "" for part in parts)
