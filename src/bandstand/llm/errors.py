"""How a call to a model fails. No ``detail`` here holds a provider's words, a URL, a key or a prompt.

Each error answers three questions for its callers: ``reached`` (did a provider answer at all?), ``retryable`` (may the
same call succeed a moment later?) and ``sent`` (may a model have worked, and charge, for it?).
"""

from bandstand.errors import BandstandError

_RETRYABLE_STATUSES = frozenset({408, 409, 429})


class ChatError(BandstandError):
    """A call to a chat model failed.

    Args:
        detail: one sentence, safe to show.
        retry_after_s: how long the provider asks to be left alone, in seconds.
        sent: False where the request is known not to have reached a model.
    """

    code = "llm-failed"

    def __init__(self, detail: str, *, retry_after_s: float | None = None, sent: bool = True) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s
        self.sent = sent

    @property
    def reached(self) -> bool:
        """Whether a provider answered at all."""
        return True

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed a moment later."""
        return False


class ChatStatusError(ChatError):
    """The provider answered with an error status."""

    code = "llm-status"

    def __init__(self, status: int, *, retry_after_s: float | None = None) -> None:
        detail = f"The model provider answered with status {status}."
        super().__init__(detail, retry_after_s=retry_after_s, sent=False)
        self.status = status

    @property
    def retryable(self) -> bool:
        """True for 408, 409, 429 and every 5xx."""
        return self.status in _RETRYABLE_STATUSES or self.status >= 500  # noqa: PLR2004 - the first server error


class ChatMalformedError(ChatError):
    """The provider answered 200 with something that is no chat completion: an error, or some page.

    The provider failed just now: the call may be repeated, and it counts as the provider's failure.
    """

    code = "llm-malformed"

    @property
    def retryable(self) -> bool:
        """An overloaded gateway may recover."""
        return True


class ChatUnreachableError(ChatError):
    """No answer came: the connection could not be made, or broke."""

    code = "llm-unreachable"

    @property
    def reached(self) -> bool:
        """No provider answered."""
        return False

    @property
    def retryable(self) -> bool:
        """A connection fault may pass."""
        return True


class ChatTimeoutError(ChatUnreachableError):
    """No answer came in the time one call may take, or before the deadline."""

    code = "llm-timeout"


class CircuitOpenError(ChatUnreachableError):
    """The provider failed too often just now; it is left alone for ``retry_after_s`` seconds."""

    code = "llm-circuit-open"

    def __init__(self, *, retry_after_s: float) -> None:
        detail = "The model provider failed too often just now and is being left alone."
        super().__init__(detail, retry_after_s=retry_after_s, sent=False)

    @property
    def retryable(self) -> bool:
        """Waiting out the breaker is the next caller's business, not this one's."""
        return False


class BudgetExceededError(BandstandError):
    """The day's tokens or money are spent, or the model has no price and money is capped. Nothing was sent."""

    code = "llm-over-budget"
