"""Runs the examples of docstrings, also those that await, as a prompt of ``python -m asyncio`` does."""

import ast
import asyncio
import doctest
import inspect
import io
import sys
import traceback
from contextlib import redirect_stdout
from typing import Any

_FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def run_examples(docstring: str, names: dict[str, Any], runner: asyncio.Runner, where: str) -> int:
    """Run the examples of a docstring; how many lines there were.

    Raises:
        AssertionError: one printed something else.
    """
    examples = doctest.DocTestParser().get_examples(docstring, where)
    checker = doctest.OutputChecker()
    for example in examples:
        printed = _run(example.source, names, runner, where)
        wanted = example.want
        if example.exc_msg is not None:
            last = printed.strip().splitlines()[-1] + "\n" if printed.strip() else ""
            assert last == example.exc_msg, f"{where}: {example.source}wanted {example.exc_msg}got {printed}"
        else:
            assert checker.check_output(wanted, printed, _FLAGS), (
                f"{where}: {example.source}wanted {wanted or 'nothing'}got {printed}"
            )
    return len(examples)


def _run(source: str, names: dict[str, Any], runner: asyncio.Runner, where: str) -> str:
    out = io.StringIO()
    code = compile(source, where, "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    async def run_async() -> None:
        result = eval(code, names)  # noqa: S307 (our own docstrings)
        if inspect.iscoroutine(result):
            await result

    def show(value: object) -> None:
        if value is not None:
            out.write(f"{value!r}\n")

    hook, sys.displayhook = sys.displayhook, show
    with redirect_stdout(out):
        try:
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(run_async())
            else:
                exec(code, names)  # noqa: S102 (the same)
        except Exception:  # noqa: BLE001 (an example may raise whatever it shows)
            return out.getvalue() + traceback.format_exc()
        finally:
            sys.displayhook = hook
    return out.getvalue()
