"""The one error of off-policy evaluation."""

from bandstand.errors import InvalidRequestError


class EvaluationError(InvalidRequestError, ValueError):
    """The log, the target or an option cannot be evaluated; ``detail`` names the array and the first row at fault."""
