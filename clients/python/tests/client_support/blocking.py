"""The client for event loops, driven as the one for threads is: one set of laws holds for both."""

import asyncio
import inspect
from typing import Any, Self


class Blocking:
    """Runs whatever coroutine an object gives, and wraps whatever comes back that gives some itself."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._wrap_call(value) if callable(value) else value

    def __enter__(self) -> Self:
        self._runner.run(_call(self._target.__aenter__))
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.run(_call(self._target.__aexit__, *error))

    def _wrap_call(self, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            bare = [each._target if isinstance(each, Blocking) else each for each in args]  # noqa: SLF001 (our own)
            result = function(*bare, **kwargs)
            if inspect.iscoroutine(result):
                result = self._runner.run(result)
            return Blocking(result, self._runner) if type(result).__name__.startswith("Async") else result

        return call


async def _call(function: Any, *args: Any) -> Any:
    return await function(*args)
