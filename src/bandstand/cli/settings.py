"""``bandstand settings``: the page of every setting, generated, so that it cannot fall behind the code."""

import typer

from bandstand.config.settings import Settings, get_allowed

_INTRODUCTION = """\
# Settings

Each is an environment variable; an empty one counts as unset. `bandstand serve` has flags that come before three of
them: `--host`, `--port` and `--state-dir`. A wrong one ends start-up with one line that names it, its value and what is
allowed. This page is the output of `bandstand settings`.

| Setting | Default | Allowed | Meaning |
|---|---|---|---|
"""


def print_settings() -> None:
    """Print every setting with its default, the allowed values and its meaning, as a page of Markdown."""
    typer.echo(render_settings_page(), nl=False)


def render_settings_page() -> str:
    """Write ``docs/settings.md``."""
    rows = (
        f"| `{name.upper()}` | {_format_default(setting.default)} | {get_allowed(name)} | {setting.description} |\n"
        for name, setting in Settings.model_fields.items()
    )
    return _INTRODUCTION + "".join(rows)


def _format_default(default: object) -> str:
    if default in (None, ()):
        return "unset"
    return f"`{int(default) if isinstance(default, bool) else default}`"
