"""The totals of long trials, printed at the end."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each trial that has recorded totals."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "totals" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")
