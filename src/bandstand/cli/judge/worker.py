"""``bandstand judge-turns``: the judge's process, which a service starts for itself; nobody types it."""

import asyncio

from bandstand.api.asgi.logs import configure_logging
from bandstand.child_process import end_with_parent
from bandstand.config.settings import read_settings
from bandstand.wiring.judge_child import run_judge_process


def judge_turns() -> None:
    """Judge turns from standard input: the process that a service starts for itself."""
    end_with_parent()
    settings = read_settings()
    configure_logging(settings.log_level)
    asyncio.run(run_judge_process(settings))
