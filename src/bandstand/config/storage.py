"""Settings of the state directory: where it is, what is kept of it in memory, and for how long."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, SecretStr

from bandstand.config.fields import SWITCH, expand_home, make_setting, to_lower


def _parse_ledger_url(value: object) -> object:
    """Refuse what is no URL of PostgreSQL; nothing of it is repeated."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    if not value.strip().startswith(("postgresql://", "postgres://")):
        raise ValueError("it does not start with postgresql://")
    return value.strip()


def _expand_named(value: object) -> object:
    """A path as ``expand_home`` reads it, or none."""
    return None if value == "" else expand_home(value)


class DirectorySettings(BaseModel):
    """Where the state is."""

    state_dir: Annotated[Path, BeforeValidator(expand_home)] = make_setting(
        "Folder of the ledger and the users' documents; made if missing, owned by one process.",
        "a path",
        default=Path("state"),
    )
    state_url: Annotated[SecretStr | None, BeforeValidator(_parse_ledger_url)] = make_setting(
        "A PostgreSQL that keeps the ledger, for any number of processes, instead of `STATE_DIR`; see docs/scale.md.",
        "a URL as libpq takes it, postgresql://…, with schema=NAME and pooler=transaction if need be",
        default=None,
    )
    state_url_file: Annotated[Path | None, BeforeValidator(_expand_named)] = make_setting(
        "A file that holds `STATE_URL`, where an orchestrator keeps secrets in files.", "a path", default=None
    )


class StorageSettings(BaseModel):
    """How the state is written, and how much of it is kept."""

    durability: Annotated[Literal["full", "strict", "process"], BeforeValidator(to_lower)] = make_setting(
        "`full`: an acknowledged reward survives a power cut; `process`: it survives a killed process, and is faster; "
        "`strict`, with `STATE_URL` alone: decisions survive one too.",
        "full, strict or process",
        default="full",
    )
    max_warm_users: int = make_setting(
        "Users whose state is kept in memory; the longest unused leave first.",
        "a whole number from 1",
        default=100_000,
        ge=1,
    )
    max_pending: int = make_setting(
        "Events that may wait for the ledger; beyond that a call is answered with 503.",
        "a whole number from 1",
        default=10_000,
        ge=1,
    )
    decision_retention_days: int = make_setting(
        "Days that decisions and rewards stay in the ledger; 0 keeps them for ever. What was learned from them stays.",
        "a whole number from 0 to 36500",
        default=90,
        ge=0,
        le=36_500,
    )
    checkpoint_seconds: float = make_setting(
        "Seconds between two checkpoints of changed users to their documents.",
        "a number above 0, up to 86400",
        default=30,
        gt=0,
        le=86_400,
    )
    score_when_full: bool = make_setting(
        "When the disk is full, or the database of STATE_URL away (for users in memory), go on scoring without "
        "logging the decisions, which then cannot be rewarded.",
        SWITCH,
        default=False,
    )
