"""``bandstand settings``: the page of every setting, generated, so that it cannot fall behind the code."""

import textwrap
from typing import Annotated

import typer

from bandstand.config.settings import Settings, get_allowed

_INTRODUCTION = """\
# Settings

Each setting is an environment variable; an empty one counts as unset. The flags `--host`, `--port` and `--state-dir` of
`bandstand serve` override three of them. A wrong value ends start-up with one line that names the setting, its value
and what is allowed. This page is the output of `bandstand settings`.

| Setting | Default | Allowed | Meaning |
|---|---|---|---|
"""

_IN_THE_COMPOSITION = {
    "host": "In the composition: always published on loopback alone.",
    "port": "In the composition: the port of this machine under which it is published.",
    "state_dir": "In the composition: always /data, which is a volume.",
    "generator": "In the composition: COMPOSE_PROFILES=gateway starts a LiteLLM gateway and has it write the tips.",
}

_ENV_INTRODUCTION = """\
# Settings for `docker compose up`: copy this file to .env, and remove the # before each setting that you change. The
# file is optional: without a .env the service is open to this machine alone and writes tips from templates.
# This file is the output of `bandstand settings --env`; docs/settings.md says the same at more length.

# Starts the LiteLLM gateway of deploy/litellm.yaml, and has it write the tips; it needs OPENAI_API_KEY.
#COMPOSE_PROFILES=gateway
"""


def print_settings(
    *,
    env: Annotated[
        bool, typer.Option("--env", help="Print a .env file for docker compose, all commented out.")
    ] = False,
) -> None:
    """Print every setting with its default, the allowed values and its meaning, as a page of Markdown."""
    typer.echo(render_env_file() if env else render_settings_page(), nl=False)


def render_settings_page() -> str:
    """Write ``docs/settings.md``."""
    rows = (
        f"| `{name.upper()}` | {_format_default(setting.default)} | {get_allowed(name)} | {setting.description} |\n"
        for name, setting in Settings.model_fields.items()
    )
    return _INTRODUCTION + "".join(rows)


def render_env_file() -> str:
    """Write ``.env.example``."""
    parts = [_ENV_INTRODUCTION]
    for name, setting in Settings.model_fields.items():
        notes = [f"{setting.description} ({get_allowed(name)})", _IN_THE_COMPOSITION.get(name, "")]
        lines = "".join(f"# {line}\n" for note in notes for line in textwrap.wrap(note, 110))
        parts.append(f"{lines}#{name.upper()}={_get_default_text(setting.default)}\n")
    return "\n".join(parts)


def _get_default_text(default: object) -> str:
    return "" if default in (None, ()) else str(int(default) if isinstance(default, bool) else default)


def _format_default(default: object) -> str:
    text = _get_default_text(default)
    return f"`{text}`" if text else "unset"
