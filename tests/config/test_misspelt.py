"""A variable that is nearly a setting is found; one that merely looks a little like one is not."""

import pytest

from bandstand.config.misspelt import find_misspelt_settings
from bandstand.config.settings import Settings

SETTINGS = [name.upper() for name in Settings.model_fields]
COMMON = (
    *("HOME", "HOSTNAME", "PATH", "PWD", "SHELL", "SHLVL", "TERM", "USER", "LANG", "LC_ALL", "TZ", "MAIL", "EDITOR"),
    *("POST", "CI", "DEBUG", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "PYTHONPATH"),
    *("OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_MODEL", "DATABASE_URL", "REDIS_URL", "LOGNAME", "VIRTUAL_ENV"),
    *("BANDSTAND_API_KEY", "KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT", "LISTEN_FDS", "INVOCATION_ID", "GPG_KEY"),
)


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_known_by_its_neighbours(name: str) -> None:
    middle = len(name) // 2
    swapped = name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :]
    for variable in {f"{name}X", name[:middle] + name[middle + 1 :], f"BANDSTAND_{name}", swapped} - set(SETTINGS):
        assert [found.variable for found in find_misspelt_settings([variable])] == [variable]


def test_settings_and_what_others_use_are_passed_over() -> None:
    assert find_misspelt_settings([*SETTINGS, *(name.lower() for name in SETTINGS), *COMMON]) == []


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("JUDGE_MDOEL", "JUDGE_MODEL"),
        ("JUDGE_MODLE", "JUDGE_MODEL"),
        ("judge_tua", "JUDGE_TAU"),
        ("API_KEY", "API_KEYS"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("LITELM_URL", "LITELLM_URL"),
        ("DECISION_RETENTION_DAY", "DECISION_RETENTION_DAYS"),
        ("JUDGE_MAX_CONCURENT", "JUDGE_MAX_CONCURRENT"),
        ("BANDSTAND_STATE_DIR", "STATE_DIR"),
    ],
)
def test_the_setting_that_was_meant_is_named(variable: str, setting: str) -> None:
    assert find_misspelt_settings([variable]) == [(variable, setting)]
