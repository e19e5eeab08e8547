"""How a simulation is refused, and how it ends when it cannot continue."""

from collections.abc import Sequence

from bandstand.errors import BandstandError, FieldError, InvalidRequestError


class UnknownRunError(BandstandError):
    """No run of that number."""

    code = "unknown-simulation"


class RunBusyError(BandstandError):
    """The run is being played by another process."""

    code = "simulation-busy"


class RunTakenError(BandstandError):
    """Somebody else cancelled, deleted or continued the run while it was being played."""

    code = "simulation-taken"


class ServiceError(BandstandError):
    """The service that a run plays against answered with an error, or not at all."""

    code = "simulation-service"


def make_invalid_request(what: str, errors: Sequence[FieldError]) -> InvalidRequestError:
    """Make the refusal of something whose fields are wrong; the sentence names them too, for a command line."""
    faults = "; ".join(f"{field} {message}" for field, message in errors)
    return InvalidRequestError(f"{what} is not valid: {faults}.", errors)
