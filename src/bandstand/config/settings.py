"""Every setting of a deployment, read once from the environment; nothing below this module reads it again.

A setting is a field here and an environment variable of the same name in capitals. A wrong one ends start-up with one
line that names it, its value (never a secret's) and what is allowed. ``docs/settings.md`` is generated from this file.
"""

import hashlib
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.experiment import Experiment
from bandstand.definition import describe_unknown
from bandstand.errors import ConfigurationError

Role = Literal["serve", "read", "admin"]
"""What an API key opens: ``serve`` the product's calls, ``read`` the looking, ``admin`` everything."""

_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}
_KEY_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_KEY_SECRET = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_MAX_VALUE_CHARS = 200  # so much of a wrong value: a path is most often whole

OTHER_TABLES = ("judge", "taxonomies")
"""Tables of the deployment's file that are no schemas and no policies."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One caller: the name stored on its events, what it may do, and the SHA-256 of its secret (never the secret)."""

    name: str
    role: Role
    digest: bytes = field(repr=False)


class JudgePrice(NamedTuple):
    """What the judge's model costs, in US dollars a million tokens read and written."""

    prompt_usd: Decimal
    completion_usd: Decimal

    def __str__(self) -> str:
        return f"{self.prompt_usd}/{self.completion_usd}"


def _parse_key(entry: str) -> ApiKey:
    # What a mistaken order puts into a name's or a role's place may be the secret: no part is ever shown.
    name, _, rest = entry.partition(":")
    role_name, _, secret = rest.partition(":")
    if not secret:
        raise ValueError("it has fewer than three parts")
    if not _KEY_NAME.fullmatch(name):
        raise ValueError("its name must be 1 to 64 of A-Z a-z 0-9 . _ -")
    role = _ROLES.get(role_name)
    if role is None:
        raise ValueError(f"its role must be one of {', '.join(_ROLES)}")
    if secret.startswith("sha256:"):
        hexadecimal = secret.removeprefix("sha256:")
        if not _KEY_DIGEST.fullmatch(hexadecimal):
            raise ValueError("sha256: must be followed by 64 hexadecimal digits")
        return ApiKey(name, role, bytes.fromhex(hexadecimal))
    if not _KEY_SECRET.fullmatch(secret):
        raise ValueError("its secret must be printable ASCII without spaces, to fit into a header")
    return ApiKey(name, role, hashlib.sha256(secret.encode()).digest())


def _parse_keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    keys: list[ApiKey] = []
    for number, entry in enumerate(value.split(",") if value else [], start=1):
        try:
            key = _parse_key(entry.strip())
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from None
        for earlier, other in enumerate(keys, start=1):
            if key.name == other.name:
                raise ValueError(f"entry {number}: its name is that of entry {earlier}")
            if key.digest == other.digest:
                raise ValueError(f"entry {number}: its secret is that of entry {earlier}")
        keys.append(key)
    return tuple(keys)


def _parse_hosts(value: object) -> object:
    if not isinstance(value, str):
        return value
    hosts = tuple(host.strip().lower() for host in value.split(",")) if value else ()
    for number, host in enumerate(hosts, start=1):
        if not _is_host(host):
            raise ValueError(f"entry {number} is neither a host name nor an address")
    return hosts


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None
    return True


def _validate_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        url = urlsplit(value)
        named = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        named = False
    else:
        if url.scheme not in {"http", "https"}:
            raise ValueError("it does not start with http:// or https://")
        if url.username is not None or url.password is not None:
            raise ValueError("it holds a user or a password: the key has a setting of its own")
    if not named or not value.isprintable() or " " in value:
        raise ValueError("it names no host")
    return value


def _validate_secret(value: object) -> object:
    if isinstance(value, str) and not _KEY_SECRET.fullmatch(value):
        raise ValueError("it must be printable ASCII without spaces, to fit into a header")
    return value


def _parse_price(value: object) -> object:
    if not isinstance(value, str):
        return value
    prompt, slash, completion = value.partition("/")
    try:
        price = JudgePrice(Decimal(prompt.strip()), Decimal(completion.strip()))
    except InvalidOperation:
        price = None
    if not slash or price is None or not all(part.is_finite() and part >= 0 for part in price):
        raise ValueError("it is not two amounts with a slash between them")
    return price


def _parse_experiment(value: object) -> object:
    return Experiment.parse(value) if isinstance(value, str) else value


def _parse_names(value: object) -> object:
    if not isinstance(value, str):
        return value
    names = tuple(name.strip() for name in value.split(","))
    if not all(names):
        raise ValueError(f"entry {names.index('') + 1} is empty")
    return names


def _to_lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _not_blank(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is blank")
    return value


def _make_setting(meaning: str, allowed: str, *, default: object, **bounds: Any) -> Any:
    return Field(default, description=meaning, json_schema_extra={"allowed": allowed}, **bounds)


_SWITCH = "1 or 0 (also true or false, yes or no, on or off)"


class Settings(BaseSettings):
    """A deployment's settings: arguments first, then the environment, then the defaults.

    Raises:
        pydantic.ValidationError: a value is not allowed; ``read_settings`` makes one line of it.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True)

    host: Annotated[str, BeforeValidator(_not_blank)] = _make_setting(
        "Address to listen on. Without API keys only a loopback address, unless `ALLOW_OPEN` is set.",
        "an address or host name of this machine",
        default="127.0.0.1",
    )
    port: int = _make_setting(
        "Port to listen on; 0 takes any free one.", "a whole number from 0 to 65535", default=8000, ge=0, le=65_535
    )
    state_dir: Annotated[Path, BeforeValidator(_not_blank)] = _make_setting(
        "Folder of the ledger and the users' documents; made if missing, owned by one process.",
        "a path",
        default=Path("state"),
    )
    bandstand_config: Annotated[Path | None, BeforeValidator(_not_blank)] = _make_setting(
        "The deployment's own feature schemas, policies, taxonomies and rules of the judge, beside those that ship.",
        "the path of a TOML file",
        default=None,
    )
    active_policy: Annotated[str | None, BeforeValidator(_not_blank)] = _make_setting(
        "Pins the policy that the un-named routes mean; unset, the last promoted one, else `linucb-v2`.",
        "the name of a configured policy",
        default=None,
    )
    experiment: Annotated[Experiment | None, NoDecode, BeforeValidator(_parse_experiment)] = _make_setting(
        "Splits the users of the un-named routes between policies, by weight; not beside `ACTIVE_POLICY`.",
        "a comma list of policy:weight, with name= before it to tell it from an earlier one of the same policies",
        default=None,
    )
    shadow: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_names)] = _make_setting(
        "Policies that look at every decision of another, learn from its reward, and are compared with it.",
        "a comma list of configured policies",
        default=(),
    )
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_parse_keys)] = _make_setting(
        "Who may call, from `Authorization: Bearer` or `X-API-Key`; unset, everyone on this machine.",
        f"a comma list of name:role:secret or name:role:sha256:hex, where role is one of {', '.join(_ROLES)}",
        default=(),
    )
    allow_open: bool = _make_setting(
        "Serve a network without API keys; only where something in front decides who may call.", _SWITCH, default=False
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_hosts)] = _make_setting(
        "Names other than loopback that a request's `Host` may carry while there are no API keys.",
        "a comma list of host names or addresses, without ports",
        default=(),
    )
    durability: Annotated[Literal["full", "process"], BeforeValidator(_to_lower)] = _make_setting(
        "`full`: an acknowledged reward survives a power cut; `process`: it survives a killed process, and is faster.",
        "full or process",
        default="full",
    )
    max_warm_users: int = _make_setting(
        "Users whose state is kept in memory; the longest unused leave first.",
        "a whole number from 1",
        default=100_000,
        ge=1,
    )
    max_pending: int = _make_setting(
        "Events that may wait for the ledger; beyond that a call is answered with 503.",
        "a whole number from 1",
        default=10_000,
        ge=1,
    )
    decision_retention_days: int = _make_setting(
        "Days that decisions and rewards stay in the ledger; 0 keeps them for ever. What was learned from them stays.",
        "a whole number from 0 to 36500",
        default=90,
        ge=0,
        le=36_500,
    )
    checkpoint_seconds: float = _make_setting(
        "Seconds between two checkpoints of changed users to their documents.",
        "a number above 0, up to 86400",
        default=30,
        gt=0,
        le=86_400,
    )
    score_when_full: bool = _make_setting(
        "When the disk is full, go on scoring without logging the decisions, which then cannot be rewarded.",
        _SWITCH,
        default=False,
    )
    prior_refresh_rewards: int | None = _make_setting(
        "Rewards after which what a policy believes of new users is learned again, in the background; if unset, at 4 "
        "and then at 15 % more each time. It takes at most 2 % of a core.",
        "a whole number from 1",
        default=None,
        ge=1,
    )
    generator: Annotated[Literal["auto", "llm", "template"], BeforeValidator(_to_lower)] = _make_setting(
        "What writes tips: a model (`llm`), the tasks alone (`template`), or a model if `LITELLM_URL` is set (`auto`).",
        "auto, llm or template",
        default="auto",
    )
    litellm_url: Annotated[str | None, BeforeValidator(_validate_url)] = _make_setting(
        "The OpenAI-compatible gateway that writes tips; under `GENERATOR=llm`, `http://localhost:4000` if unset.",
        "an http or https URL without credentials",
        default=None,
    )
    litellm_master_key: Annotated[SecretStr | None, BeforeValidator(_validate_secret)] = _make_setting(
        "The gateway's key.", "printable ASCII without spaces", default=None
    )
    generate_model: Annotated[str, BeforeValidator(_not_blank)] = _make_setting(
        "The model or alias that the gateway is asked for.", "a name that the gateway knows", default="tip-generator"
    )
    generate_deadline_s: float = _make_setting(
        "Seconds that writing tips may take, over all tries.",
        "a number above 0, up to 3600",
        default=60,
        gt=0,
        le=3600,
    )
    generate_max_concurrent: int = _make_setting(
        "Requests for tips that may wait for the model at once; beyond that a call is answered with 503.",
        "a whole number from 1 to 10000",
        default=64,
        ge=1,
        le=10_000,
    )
    default_prompt_version: Annotated[str | None, BeforeValidator(_not_blank)] = _make_setting(
        "The prompt of requests that name none: `v1` if unset, any of a list, or the one that earns most (`auto`).",
        "auto, or a version or comma list of versions in the prompts folder",
        default=None,
    )
    prompts_dir: Annotated[Path | None, BeforeValidator(_not_blank)] = _make_setting(
        "The deployment's own folder of prompts, in place of those that ship.", "a path", default=None
    )
    judge: Annotated[Literal["auto", "local", "rules", "llm", "off"], BeforeValidator(_to_lower)] = _make_setting(
        "What reads a user's next message: rules and a text model (`local`), `rules` alone, an LLM (`llm`), nothing "
        "(`off`), or local with an LLM where that is not sure, if `JUDGE_MODEL` is set (`auto`).",
        "auto, local, rules, llm or off",
        default="auto",
    )
    judge_model: Annotated[str | None, BeforeValidator(_not_blank)] = _make_setting(
        "The judge's LLM; unset, no turn leaves this machine.", "a name that the provider knows", default=None
    )
    judge_provider: Annotated[Literal["openai", "anthropic"], BeforeValidator(_to_lower)] = _make_setting(
        "Which wire the judge's LLM speaks: OpenAI's, as most gateways do, or Anthropic's.",
        "openai or anthropic",
        default="openai",
    )
    judge_url: Annotated[str | None, BeforeValidator(_validate_url)] = _make_setting(
        "Where the judge's LLM is; unset, at the provider itself.",
        "an http or https URL without credentials",
        default=None,
    )
    judge_prompt_version: Annotated[str, BeforeValidator(_not_blank)] = _make_setting(
        "The prompt of the judge's LLM.", "a version in the folder `judge` of the prompts", default="v1"
    )
    judge_deadline_s: float = _make_setting(
        "Seconds that the LLM may take over one turn, over all tries.",
        "a number above 0, up to 3600",
        default=180,
        gt=0,
        le=3600,
    )
    judge_max_concurrent: int = _make_setting(
        "Questions that the LLM is asked at once, of turns and of opinions.",
        "a whole number from 1 to 1000",
        default=32,
        ge=1,
        le=1000,
    )
    judge_tau: float = _make_setting(
        "τ: under the hard gate, verdicts that are less confident teach nothing.",
        "a number from 0 to 1",
        default=0.6,
        ge=0,
        le=1,
    )
    judge_gate: Annotated[Literal["hard", "soft"], BeforeValidator(_to_lower)] = _make_setting(
        "`hard`: the label's reward from τ on, else nothing; `soft`: the mean reward over all labels, always.",
        "hard or soft",
        default="hard",
    )
    judge_daily_tokens: int | None = _make_setting(
        "Tokens that the judge's LLM may cost in a UTC day; beyond, the local tiers go on alone.",
        "a whole number from 0",
        default=None,
        ge=0,
    )
    judge_daily_usd: Decimal | None = _make_setting(
        "US dollars that it may cost in a UTC day; a model without `JUDGE_PRICE` is then never asked.",
        "an amount from 0",
        default=None,
        ge=0,
        allow_inf_nan=False,
    )
    judge_price: Annotated[JudgePrice | None, NoDecode, BeforeValidator(_parse_price)] = _make_setting(
        "US dollars that a million tokens cost, read and written, such as `0.05/0.40`.",
        "two amounts from 0 with a slash between them",
        default=None,
    )
    judge_max_updates_per_user_hour: int = _make_setting(
        "Turns of one user that may teach within an hour; the verdicts of more are kept and teach nothing.",
        "a whole number from 0",
        default=60,
        ge=0,
    )
    turn_retention_days: int = _make_setting(
        "Days that the words of turns stay, and what quotes them; 0 keeps them for ever. Verdicts stay.",
        "a whole number from 0 to 36500",
        default=30,
        ge=0,
        le=36_500,
    )
    anthropic_api_key: Annotated[SecretStr | None, BeforeValidator(_validate_secret)] = _make_setting(
        "Key of the Anthropic API: of the judge under `JUDGE_PROVIDER=anthropic`, and of `simulate --judge llm`.",
        "printable ASCII without spaces",
        default=None,
    )
    openai_api_key: Annotated[SecretStr | None, BeforeValidator(_validate_secret)] = _make_setting(
        "Key of OpenAI, or of the gateway that `JUDGE_URL` or `simulate --judge-url` names; some gateways need none.",
        "printable ASCII without spaces",
        default=None,
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_to_lower)] = _make_setting(
        "The least severe messages that are logged.", "debug, info, warning or error", default="info"
    )
    log_requests: bool = _make_setting("Log one JSON line for each request.", _SWITCH, default=False)
    shutdown_seconds: int = _make_setting(
        "Seconds that running requests have to end after SIGTERM.",
        "a whole number from 1 to 3600",
        default=20,
        ge=1,
        le=3600,
    )


def read_settings(**flags: object) -> Settings:
    """Read the settings from the environment, the given flags first; a flag that is None was not given.

    Raises:
        ConfigurationError: its one line names each wrong setting, its value and what is allowed.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # flags arrive as text and are parsed like the environment
    except ValidationError as error:
        raise ConfigurationError("; ".join(_format_fault(fault, given) for fault in error.errors())) from None


def _format_fault(fault: ErrorDetails, flags: Mapping[str, object]) -> str:
    name = str(fault["loc"][0])
    source = "--" + name.replace("_", "-") if name in flags else name.upper()
    reason = f" ({fault['ctx']['error']})" if fault["type"] == "value_error" else ""
    shown = "" if _is_secret(name, fault["input"]) else f"={_truncate_value(fault['input'])}"
    return f"{source}{shown} is not allowed{reason}; expected {get_allowed(name)}"


def _is_secret(name: str, value: object) -> bool:
    return name.endswith(("_key", "_keys")) or (name.endswith("_url") and "@" in str(value))


def _truncate_value(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}…"


def get_allowed(name: str) -> str:
    """Say which values the setting of that field name takes."""
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else ""


def load_catalogue(settings: Settings) -> Catalogue:
    """Read the schemas and policies that ship and the deployment's own; those that settings name must be among them.

    Raises:
        ConfigurationError: the file cannot be read or says something wrong, or the policy is not configured.
    """
    shipped = tomllib.loads(resources.files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8"))
    path = settings.bandstand_config
    catalogue = Catalogue.parse(shipped) if path is None else _load_with_deployment(shipped, path)
    names = (*catalogue.policies, *catalogue.aliases)
    if settings.active_policy is not None and settings.active_policy not in names:
        raise ConfigurationError(f"ACTIVE_POLICY: {describe_unknown(settings.active_policy, names)}")
    if settings.experiment is not None:
        _check_experiment(settings.experiment, settings, catalogue)
    _require_distinct("SHADOW", settings.shadow, catalogue)
    return catalogue


def _check_experiment(experiment: Experiment, settings: Settings, catalogue: Catalogue) -> None:
    if settings.active_policy is not None:
        raise ConfigurationError(
            "EXPERIMENT and ACTIVE_POLICY are both set: a split cannot be pinned, unset one of them"
        )
    _require_distinct("EXPERIMENT", [arm.policy for arm in experiment.arms], catalogue)


def _require_distinct(setting: str, policies: Iterable[str], catalogue: Catalogue) -> None:
    """Policies that a setting lists must be configured, and each there once, under whatever name."""
    names = (*catalogue.policies, *catalogue.aliases)
    seen: set[str] = set()
    for policy in policies:
        if policy not in names:
            raise ConfigurationError(f"{setting}: {describe_unknown(policy, names)}")
        name = catalogue.get_policy(policy).name
        if name in seen:
            raise ConfigurationError(f"{setting}: it names {name!r} twice")
        seen.add(name)


def read_deployment_tables(settings: Settings) -> dict[str, Any]:
    """Read the tables of the deployment's own file; none where there is no file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return {} if settings.bandstand_config is None else _read_toml(settings.bandstand_config)


def _load_with_deployment(shipped: Mapping[str, object], path: Path) -> Catalogue:
    try:
        return Catalogue.parse(shipped, _read_toml(path), OTHER_TABLES)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"BANDSTAND_CONFIG={_truncate_value(str(path))}: {error.detail}", error.errors
        ) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigurationError(f"is not TOML ({error})") from None
