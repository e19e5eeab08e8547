"""Parameters that not every gateway takes: what one refused is left out, and remembered once that helped.

OpenAI-compatible gateways differ in what they accept, and say so only with a 400 or 422 that names the parameter.
"""

from collections.abc import Collection, Mapping

_REFUSAL_STATUSES = frozenset({400, 422})


class ParameterNegotiation:
    """What one gateway is known to refuse.

    Args:
        optional: the parameters that may be left out of a call.
    """

    def __init__(self, optional: Collection[str]) -> None:
        self._optional = frozenset(optional)
        self.rejected: frozenset[str] = frozenset()

    def find_rejected(self, sent: Collection[str], status: int, body: object) -> str | None:
        """The optional parameter among those ``sent`` that an error answer names, if it names one.

        Args:
            sent: the names of the parameters of the refused call.
            status: the answer's status.
            body: the answer's decoded JSON, or its text.
        """
        if status not in _REFUSAL_STATUSES:
            return None
        candidates = sorted(self._optional & set(sent))
        error = body.get("error", body) if isinstance(body, Mapping) else body
        if isinstance(error, Mapping):
            if error.get("param") in candidates:
                return str(error["param"])
            error = error.get("message", error)
        words = str(error)
        return next((name for name in candidates if name in words), None)

    def add_rejected(self, rejected: frozenset[str]) -> None:
        """Remember what was left out of a call that then succeeded.

        Only then: an error that quotes a user's text may name a parameter by accident.
        """
        self.rejected |= rejected
