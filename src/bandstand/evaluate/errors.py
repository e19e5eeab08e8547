"""The errors of off-policy evaluation."""

from bandstand.errors import BandstandError, InvalidRequestError


class EvaluationError(InvalidRequestError, ValueError):
    """The log, the target or an option cannot be evaluated; ``detail`` names the array and the first row at fault."""


class UnknownEvaluationError(BandstandError):
    """No evaluation of that number, or it was deleted."""

    code = "unknown-evaluation"
