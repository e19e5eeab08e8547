"""Work that meets a resting ledger is done again until it is done; any other error is its end."""

import pytest
from structlog.testing import capture_logs

from bandstand.errors import BandstandError, InvalidRequestError, OverloadedError, StorageFullError
from bandstand.judge_worker import rest
from bandstand.judge_worker.process import JudgeProcessNotStartedError
from bandstand.judge_worker.rest import retry_while_resting


class Work:
    """Raises some errors, one a try, and is done then."""

    def __init__(self, *errors: BandstandError) -> None:
        self.errors = list(errors)

    async def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_PAUSE_S", 0)
    monkeypatch.setattr(rest, "_LONG_PAUSE_S", 0)


async def test_it_goes_on_as_long_as_the_ledger_or_the_process_rests() -> None:
    work = Work(StorageFullError("full"), OverloadedError("busy"), JudgeProcessNotStartedError("no"))
    with capture_logs() as logged:
        assert await retry_while_resting(work, "a verdict") == "done"
    assert [(entry["log_level"], entry["work"], entry["reason"]) for entry in logged] == [
        ("warning", "a verdict", "full"),
        ("warning", "a verdict", "busy"),
        ("error", "a verdict", "no"),
    ]


async def test_any_other_error_ends_it() -> None:
    work = Work(StorageFullError("full"), InvalidRequestError("wrong", []))
    with pytest.raises(InvalidRequestError):
        await retry_while_resting(work, "a verdict")
