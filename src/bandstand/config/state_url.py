"""Where a shared ledger is: STATE_URL, or the file that STATE_URL_FILE names."""

from bandstand.config.settings import Settings
from bandstand.errors import ConfigurationError


def read_state_url(settings: Settings) -> str | None:
    """The URL of the ledger, from its setting or its file; ``None`` for a state directory.

    Raises:
        ConfigurationError: both are given, or the file cannot be read.
    """
    url = None if settings.state_url is None else settings.state_url.get_secret_value()
    if settings.state_url_file is None:
        return url
    if url is not None:
        raise ConfigurationError("STATE_URL and STATE_URL_FILE are both set: unset one")
    try:
        return settings.state_url_file.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(f"STATE_URL_FILE={str(settings.state_url_file)!r} cannot be read: {reason}") from None
