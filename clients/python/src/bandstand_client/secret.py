"""The API key, where nothing can print it."""


class Secret:
    """An API key as a header; its text is in no repr, no message and no traceback with local variables.

    Args:
        key: the key's secret, or None for a service without keys.

    Raises:
        ValueError: it cannot be sent in a header. The message does not repeat it.
    """

    __slots__ = ("_header",)

    def __init__(self, key: str | None) -> None:
        if key is not None and (not key.isascii() or not key.isprintable() or not key or key != key.strip()):
            raise ValueError("a key is printable ASCII, without spaces around it")
        self._header = () if key is None else ((b"authorization", b"Bearer " + key.encode()),)

    def build_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The header that shows the key, or none."""
        return self._header

    def __repr__(self) -> str:
        return "Secret(...)" if self._header else "Secret(None)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")
