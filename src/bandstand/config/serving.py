"""Settings of the process that serves: its address, its log, its end."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator

from bandstand.api.asgi.path_prefix import parse_prefix
from bandstand.config.fields import SWITCH, make_setting, not_blank, to_lower


def _parse_root_path(value: object) -> object:
    if not isinstance(value, str):
        return value
    prefix = parse_prefix(value)
    if prefix is None:
        raise ValueError("it is no such path")
    return prefix


class AddressSettings(BaseModel):
    """Where the service listens."""

    host: Annotated[str, BeforeValidator(not_blank)] = make_setting(
        "Address to listen on. Without API keys only a loopback address, unless `ALLOW_OPEN` is set.",
        "an address or host name of this machine",
        default="127.0.0.1",
    )
    port: int = make_setting(
        "Port to listen on; 0 takes any free one.", "a whole number from 0 to 65535", default=8000, ge=0, le=65_535
    )
    root_path: Annotated[str, BeforeValidator(_parse_root_path)] = make_setting(
        "Path under which a proxy shows the service, whether the proxy strips it or not. A proxy that sends "
        "`X-Forwarded-Prefix` needs none.",
        "a path such as /bandit, of letters, digits and . _ ~ -",
        default="",
    )


class ProcessSettings(BaseModel):
    """What the service logs, and how it ends."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(to_lower)] = make_setting(
        "The least severe messages that are logged.", "debug, info, warning or error", default="info"
    )
    log_requests: bool = make_setting("Log one JSON line for each request.", SWITCH, default=False)
    shutdown_seconds: int = make_setting(
        "Seconds that running requests have to end after SIGTERM.",
        "a whole number from 1 to 3600",
        default=20,
        ge=1,
        le=3600,
    )
