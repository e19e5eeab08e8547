"""Settings: read from the environment, refused in one line, and never a secret in sight."""

import hashlib
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel

from bandstand.bandit.experiment import Experiment
from bandstand.bandit.reward_settings import CONTRACT
from bandstand.config.access import ApiKey
from bandstand.config.catalogue import load_catalogue, load_reward_settings
from bandstand.config.settings import Settings, get_allowed, read_settings
from bandstand.errors import ConfigurationError


def get_refusal(**flags: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(**flags)
    return caught.value.detail


PATHS = sorted(
    name for name, field in Settings.model_fields.items() if Path in (field.annotation, *get_args(field.annotation))
)


@pytest.mark.parametrize("name", PATHS)
def test_a_home_in_a_path_is_found_as_a_shell_finds_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name.upper(), "~/place")
    assert getattr(read_settings(), name) == tmp_path / "place"
    assert getattr(read_settings(**{name: "~"}), name) == tmp_path
    assert getattr(read_settings(**{name: "a/~b"}), name) == Path("a/~b")
    monkeypatch.setenv(name.upper(), "~nobody-at-all/place")
    assert get_refusal().startswith(f"{name.upper()}='~nobody-at-all/place' is not allowed (this machine does not know")


def test_every_path_is_among_them() -> None:
    assert PATHS == ["bandstand_config", "prompts_dir", "state_dir", "state_url_file"]


def test_the_defaults_are_the_documented_ones() -> None:
    settings = read_settings()
    assert (settings.host, settings.port, settings.state_dir) == ("127.0.0.1", 8000, Path("state"))
    assert (settings.bandstand_config, settings.active_policy, settings.api_keys) == (None, None, ())
    assert (settings.allow_open, settings.allowed_hosts, settings.durability) == (False, (), "full")
    assert (settings.max_warm_users, settings.max_pending) == (100_000, 10_000)
    assert (settings.decision_retention_days, settings.checkpoint_seconds) == (90, 30)
    assert (settings.score_when_full, settings.log_level, settings.log_requests) == (False, "info", False)
    assert settings.shutdown_seconds == 20


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("HOST", "::1", "::1"),
        ("PORT", "0", 0),
        ("STATE_DIR", "/data", Path("/data")),
        ("BANDSTAND_CONFIG", "own.toml", Path("own.toml")),
        ("ACTIVE_POLICY", "linucb-v1", "linucb-v1"),
        ("EXPERIMENT", "linucb-v2:9,first-v1:1", Experiment.parse("linucb-v2:9,first-v1:1")),
        ("SHADOW", "thompson-v1, linucb", ("thompson-v1", "linucb")),
        ("ALLOW_OPEN", "1", True),
        ("ALLOW_OPEN", "no", False),
        ("ALLOWED_HOSTS", "Dev.Example, box_1,::1", ("dev.example", "box_1", "::1")),
        ("ALLOWED_HOSTS", "*, .Example.com,*.lan,10.0.0.0/8", ("*", ".example.com", "*.lan", "10.0.0.0/8")),
        ("DURABILITY", "process", "process"),
        ("MAX_WARM_USERS", "1", 1),
        ("MAX_PENDING", "7", 7),
        ("DECISION_RETENTION_DAYS", "0", 0),
        ("CHECKPOINT_SECONDS", "0.5", 0.5),
        ("SCORE_WHEN_FULL", "true", True),
        ("LOG_LEVEL", "WARNING", "warning"),
        ("LOG_REQUESTS", "on", True),
        ("SHUTDOWN_SECONDS", "3600", 3600),
    ],
)
def test_every_setting_is_an_environment_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: object
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(read_settings(), variable.lower()) == value


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "")
    assert getattr(read_settings(), name) == Settings.model_fields[name].default


def test_a_flag_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("HOST", "127.0.0.2")
    settings = read_settings(port="9001", host=None)
    assert (settings.host, settings.port) == ("127.0.0.2", 9001)


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("HOST", "  "),
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "80.5"),
        ("STATE_DIR", " "),
        ("EXPERIMENT", "linucb-v2:90"),
        ("SHADOW", "thompson-v1,,linucb"),
        ("ALLOW_OPEN", "maybe"),
        ("ALLOWED_HOSTS", "http://dev.example"),
        ("ALLOWED_HOSTS", "dev.example:8000"),
        ("ALLOWED_HOSTS", "dev.*"),
        ("ALLOWED_HOSTS", "*dev"),
        ("ALLOWED_HOSTS", "."),
        ("ALLOWED_HOSTS", "10.0.0.1/8"),
        ("ALLOWED_HOSTS", "10.0.0.0/33"),
        ("ALLOWED_HOSTS", "a,,b"),
        ("DURABILITY", "fast"),
        ("MAX_WARM_USERS", "0"),
        ("MAX_PENDING", "0"),
        ("DECISION_RETENTION_DAYS", "-1"),
        ("DECISION_RETENTION_DAYS", "36501"),
        ("CHECKPOINT_SECONDS", "0"),
        ("CHECKPOINT_SECONDS", "nan"),
        ("CHECKPOINT_SECONDS", "inf"),
        ("LOG_LEVEL", "loud"),
        ("LOG_REQUESTS", "2"),
        ("SHUTDOWN_SECONDS", "0"),
    ],
)
def test_a_wrong_setting_is_one_line_of_its_name_its_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    line = get_refusal()
    assert line.startswith(f"{variable}={text!r} is not allowed")
    assert line.endswith(f"; expected {get_allowed(variable.lower())}")
    assert len(line.splitlines()) == 1


def test_a_wrong_flag_is_named_as_a_flag() -> None:
    assert get_refusal(port="x") == "--port='x' is not allowed; expected a whole number from 0 to 65535"
    assert get_refusal(state_dir="").startswith("--state-dir=''")


def test_all_wrong_settings_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("DURABILITY", "y")
    line = get_refusal()
    assert "PORT='x'" in line
    assert "DURABILITY='y'" in line


@given(st.text(min_size=1))
def test_whatever_the_value_the_refusal_is_one_line_of_bounded_length(text: str) -> None:
    line = get_refusal(durability="\n" + text)
    assert len(line.splitlines()) == 1
    assert len(line) < 300


# API keys


def test_keys_are_kept_as_digests_of_their_secrets() -> None:
    digest = hashlib.sha256(b"s3cret:with:colons")
    keys = read_settings(api_keys=f"app:serve:s3cret:with:colons, eye.1:read:sha256:{'AB' * 32},ops:admin:x").api_keys
    assert keys == (
        ApiKey("app", "serve", digest.digest()),
        ApiKey("eye.1", "read", b"\xab" * 32),
        ApiKey("ops", "admin", hashlib.sha256(b"x").digest()),
    )


def test_a_secret_and_its_digest_are_the_same_key() -> None:
    digest = hashlib.sha256(b"s3cret").hexdigest()
    assert (
        read_settings(api_keys="app:serve:s3cret").api_keys
        == read_settings(api_keys=f"app:serve:sha256:{digest}").api_keys
    )


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("app", "entry 1: it has fewer than three parts"),
        ("app:serve", "entry 1: it has fewer than three parts"),
        ("app:serve:", "entry 1: it has fewer than three parts"),
        ("app:serve:x,", "entry 2: it has fewer than three parts"),
        (" ", "entry 1: it has fewer than three parts"),
        ("app:serve:x,bob:owner:y", "entry 2: its role must be one of serve, read, admin"),
        (":serve:x", "entry 1: its name must be"),
        (f"{'n' * 65}:serve:x", "entry 1: its name must be"),
        ("b b:serve:x", "entry 1: its name must be"),
        ("app:serve:sha256:12", "entry 1: sha256: must be followed by 64 hexadecimal digits"),
        ("app:serve:two words", "entry 1: its secret must be printable ASCII"),
        ("app:serve:gehéim", "entry 1: its secret must be printable ASCII"),
        ("app:serve:x,ops:admin:y,app:read:z", "entry 3: its name is that of entry 1"),
        ("app:serve:x,ops:admin:x", "entry 2: its secret is that of entry 1"),
    ],
)
def test_a_wrong_key_is_told_by_its_place_and_reason(keys: str, reason: str) -> None:
    line = get_refusal(api_keys=keys)
    assert line.startswith(f"--api-keys is not allowed ({reason}")
    assert line.endswith(f"; expected {get_allowed('api_keys')}")


_SECRET = "q9Zx7-hunter2"


@given(
    parts=st.lists(st.sampled_from([_SECRET, "app", "serve", "read", "sha256", "", " ", "é", ":", ","]), max_size=9),
    glue=st.sampled_from([":", ",", ""]),
)
def test_no_error_and_no_repr_ever_shows_a_secret(parts: list[str], glue: str) -> None:
    try:
        settings = read_settings(api_keys=glue.join([*parts, _SECRET]))
    except ConfigurationError as error:
        shown = repr(error)
    else:
        assume(_SECRET not in {key.name for key in settings.api_keys})  # it is a name there, and names are shown
        shown = repr(settings) + str(settings)
    assert _SECRET not in shown


def test_a_digest_is_not_shown_either() -> None:
    shown = repr(read_settings(api_keys="app:serve:x"))
    assert "app" in shown
    assert "digest" not in shown


# The catalogue


def test_the_catalogue_that_ships_is_read_without_a_deployment_file() -> None:
    load_catalogue(Settings())


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read (No such file or directory)"), (b"a = ", "is not TOML ("), (b"\xff", "is not TOML (")],
)
def test_a_deployment_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(f": {reason}")) as caught:
        load_catalogue(Settings(bandstand_config=path))
    assert caught.value.detail.startswith("BANDSTAND_CONFIG=")
    assert len(caught.value.detail.splitlines()) == 1


def test_an_unknown_key_of_the_deployment_file_is_named_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[polices.mine]\n")
    with pytest.raises(ConfigurationError, match="polices") as caught:
        load_catalogue(Settings(bandstand_config=path))
    assert str(path) in caught.value.detail


@pytest.mark.parametrize("name", ["linucb-v2", "linucb-v1", "egreedy-v1", "linucb", "egreedy"])
def test_the_active_policy_may_be_any_configured_one_or_its_alias(name: str) -> None:
    load_catalogue(Settings(active_policy=name))


def test_an_experiment_splits_between_configured_policies_or_their_aliases() -> None:
    settings = read_settings(experiment="autumn = linucb-v2:90, first-v1:10")
    assert settings.experiment == Experiment.parse("autumn=linucb-v2:90,first-v1:10")
    load_catalogue(settings)
    load_catalogue(read_settings(experiment="linucb:1,egreedy:1"))


@pytest.mark.parametrize(
    ("experiment", "reason"),
    [
        ("linucb-v22:1,first-v1:1", "EXPERIMENT: unknown 'linucb-v22', did you mean 'linucb-v2'"),
        ("linucb:1,linucb-v1:1", "EXPERIMENT: it names 'linucb-v1' twice"),
    ],
)
def test_an_experiment_that_names_no_policy_or_one_twice_is_refused(experiment: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        load_catalogue(read_settings(experiment=experiment))


def test_an_experiment_beside_a_pinned_policy_is_refused() -> None:
    settings = read_settings(experiment="linucb-v2:1,first-v1:1", active_policy="linucb-v2")
    with pytest.raises(ConfigurationError, match="EXPERIMENT and ACTIVE_POLICY are both set"):
        load_catalogue(settings)


@pytest.mark.parametrize(
    ("shadow", "reason"),
    [
        ("linucb-v2,thompson-v11", "SHADOW: unknown 'thompson-v11', did you mean 'thompson-v1'"),
        ("linucb-v1,linucb", "SHADOW: it names 'linucb-v1' twice"),
    ],
)
def test_a_shadow_that_names_no_policy_or_one_twice_is_refused(shadow: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        load_catalogue(read_settings(shadow=shadow))


def test_a_wrong_weight_is_one_line() -> None:
    assert get_refusal(experiment="linucb-v2:90,first-v1:0").startswith(
        "--experiment='linucb-v2:90,first-v1:0' is not allowed (entry 2: its weight is not a number above 0)"
    )


def test_an_active_policy_that_is_not_configured_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="ACTIVE_POLICY: unknown 'linucb-v22', did you mean 'linucb-v2'"):
        load_catalogue(Settings(active_policy="linucb-v22"))


def test_no_two_groups_declare_one_setting_and_every_group_counts() -> None:
    groups = [base for base in Settings.__mro__[1:] if issubclass(base, BaseModel) and base.model_fields]
    declared = [name for group in groups for name in group.model_fields]
    assert len(declared) == len(set(declared))
    assert set(declared) == set(Settings.model_fields)


def test_rewards_over_time_come_from_the_table_and_the_settings_that_replace_it(tmp_path: Path) -> None:
    config = tmp_path / "bandstand.toml"
    config.write_text(
        '[rewards]\nwindow = 60\naggregation = "mean"\n[rewards.metrics]\nclick = 0.5\n', encoding="utf-8"
    )
    rewards = load_reward_settings(Settings(bandstand_config=config, reward_aggregation="sum", default_reward=-0.5))
    assert (rewards.window, rewards.aggregation, rewards.default_reward) == (60.0, "sum", -0.5)
    assert rewards.formula is not None
    assert load_reward_settings(Settings()) == CONTRACT
    for wrong in ({"default_reward": 0.5}, {"reward_window": 86_400.0, "decision_retention_days": 1}):
        with pytest.raises(ConfigurationError, match="rewards"):
            load_reward_settings(Settings(**wrong))  # type: ignore[arg-type]  # as the environment has them
