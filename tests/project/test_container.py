"""The image and the composition, as far as they can be judged without an engine."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bandstand.cli.settings import render_env_file
from bandstand.config.settings import Settings, read_settings
from tests.project.checkout import ROOT, tool
from tests.project.dockerfile import Instruction, read_dockerfile

STAGES = read_dockerfile(ROOT / "Dockerfile")
COMPOSITION: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICE: dict[str, Any] = COMPOSITION["services"]["bandstand"]
SHARED = ("bandstand-one", "bandstand-two")


def read_environment(service: dict[str, Any] = SERVICE, /, **given: str) -> dict[str, str]:
    """A service's environment as compose makes it of what the shell or a file .env gives."""

    def fill(match: re.Match[str]) -> str:
        name, kind, other = match.groups()
        value = given.get(name, "")
        return (value or other) if kind == ":-" else (other if value else "")

    pattern = re.compile(r"\$\{([A-Z_]+)(:-|:\+)([^${}]*)\}")
    filled = {}
    for name, value in service["environment"].items():
        text = str(value)
        while (inner := pattern.sub(fill, text)) != text:
            text = inner
        filled[name] = text
    return filled


def read_settings_from(environment: dict[str, str]) -> Settings:
    """The settings of a process that has this environment and no other."""
    with pytest.MonkeyPatch.context() as patched:
        for name in os.environ:
            patched.delenv(name)
        for name, value in environment.items():
            patched.setenv(name, value)
        return read_settings()


def get_last(name: str) -> Instruction:
    return [instruction for instruction in STAGES[-1] if instruction.name == name][-1]


def run_lint(*words: str) -> None:
    done = subprocess.run(
        [tool(words[0]), *words[1:]], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_lints_clean() -> None:
    run_lint("hadolint", "Dockerfile")


def test_the_composition_follows_the_compose_specification() -> None:
    run_lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_the_image_is_slim_in_every_stage_and_has_more_than_one() -> None:
    assert len(STAGES) > 1
    assert all(re.fullmatch(r"python:3\.1[1-9]-slim( AS \w+)?", stage[0].words) for stage in STAGES)


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    user, group = get_last("USER").words.split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_the_state_is_on_a_volume_of_the_user() -> None:
    names = [instruction.name for instruction in STAGES[-1]]
    volume = get_last("VOLUME").words
    assert get_last("ENV").parse_pairs["STATE_DIR"] == volume
    assert f"chown {get_last('USER').words} {volume}" in get_last("RUN").words
    assert names.index("RUN") < names.index("VOLUME")


def test_the_image_serves_every_address_in_the_exec_form_so_that_a_signal_reaches_it() -> None:
    every_address = "0.0.0.0"  # noqa: S104 - of the container, which publishes what it is told to
    assert get_last("CMD").command == ["bandstand", "serve", "--host", every_address, "--port", "8000"]
    assert "ENTRYPOINT" not in {instruction.name for instruction in STAGES[-1]}


def test_nothing_is_copied_that_the_docker_context_leaves_out() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"]
    for instruction in STAGES[0]:
        if instruction.name == "COPY":
            for source in instruction.words.split()[:-1]:
                assert source in kept
                assert (ROOT / source).exists()


def test_the_service_is_open_but_published_on_loopback_only() -> None:
    assert read_environment()["ALLOW_OPEN"] == "1"
    assert SERVICE["ports"] == ["127.0.0.1:${PORT:-8000}:8000"]
    for service in COMPOSITION["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_service_keeps_its_state_on_a_named_volume() -> None:
    name, _, place = SERVICE["volumes"][0].partition(":")
    assert place == get_last("VOLUME").words
    assert name in COMPOSITION["volumes"]


def test_the_service_s_health_check_is_the_image_s() -> None:
    image, service = get_last("HEALTHCHECK"), SERVICE["healthcheck"]
    assert service["test"] == ["CMD", *image.command]
    timing = {key.replace("-", "_"): value for key, value in image.flags.items()}
    assert {key: str(value) for key, value in service.items() if key not in {"test", "start_interval"}} == timing


def test_the_image_s_health_check_has_no_flag_that_an_older_builder_refuses() -> None:
    assert get_last("HEALTHCHECK").flags.keys() <= {"interval", "timeout", "start-period", "retries"}


def test_without_any_file_tips_come_from_templates_and_with_the_profile_from_the_gateway() -> None:
    plain = read_environment()
    assert read_settings_from(plain).litellm_url is None
    assert read_settings_from(plain).generator == "auto"
    for given in ({"COMPOSE_PROFILES": "gateway"}, {"LITELLM_URL": "http://litellm:4000"}):
        assert read_settings_from(read_environment(**given)).litellm_url == "http://litellm:4000"
    gateway = SERVICE["depends_on"]["litellm"]
    assert gateway == {"condition": "service_started", "required": False}


def test_a_profile_that_is_given_as_a_flag_is_found_by_the_gateway_s_name(tmp_path: Path) -> None:
    """The command is run with a getent and a bandstand of the test's own."""
    shell, flag, script = (word.replace("$$", "$") for word in SERVICE["command"])
    (tmp_path / "bandstand").write_text('#!/bin/sh\necho "$LITELLM_URL $*"\n', encoding="utf-8")
    for status, given, expected in (
        ("0", "", "http://litellm:4000"),
        ("2", "", ""),
        ("0", "http://mine", "http://mine"),
    ):
        (tmp_path / "getent").write_text(f"#!/bin/sh\nexit {status}\n", encoding="utf-8")
        for name in ("bandstand", "getent"):
            (tmp_path / name).chmod(0o755)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LITELLM_URL": given}
        done = subprocess.run([shell, flag, script], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == f"{expected} {' '.join(get_last('CMD').command[1:])}\n"


def test_every_setting_may_stand_in_a_file_beside_the_composition() -> None:
    assert SERVICE["env_file"] == [{"path": ".env", "required": False}]
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert example == render_env_file(), "make settings"
    assert set(re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE)) == {
        *(name.upper() for name in Settings.model_fields),
        "COMPOSE_PROFILES",
    }
    assert all(line.startswith("#") or not line for line in example.splitlines()), "it changes nothing as it is"
    for name, default in re.findall(r"^#([A-Z_]+)=(.+)$", example, re.MULTILINE):
        if name != "COMPOSE_PROFILES":
            field = name.lower()
            assert getattr(read_settings_from({name: default}), field) == Settings.model_fields[field].default


def test_the_service_gets_more_time_to_stop_than_it_takes() -> None:
    assert int(SERVICE["stop_grace_period"].removesuffix("s")) > Settings.model_fields["shutdown_seconds"].default


def test_the_gateway_starts_only_when_asked_for_and_serves_the_contract_s_alias() -> None:
    gateway = COMPOSITION["services"]["litellm"]
    assert gateway["profiles"] == ["gateway"]
    assert "profiles" not in SERVICE
    source, place, mode = gateway["volumes"][0].split(":")
    assert (place, mode) == (gateway["command"][1], "ro")
    configured = yaml.safe_load((ROOT / source).read_text(encoding="utf-8"))
    assert [model["model_name"] for model in configured["model_list"]] == ["tip-generator"]


@pytest.mark.parametrize("name", SHARED)
def test_the_services_of_the_profile_scale_are_the_service_over_its_postgresql(name: str) -> None:
    service = COMPOSITION["services"][name]
    own = {"profiles", "environment", "depends_on", "ports", "volumes"}
    assert {key: value for key, value in service.items() if key not in own} == {
        key: value for key, value in SERVICE.items() if key not in own
    }
    assert not service["ports"], "the balancer's alone is published"
    assert service["depends_on"]["postgres"] == {"condition": "service_healthy"}
    database = COMPOSITION["services"]["postgres"]
    for given in ({}, {"POSTGRES_PASSWORD": "k4nary"}):
        environment = read_environment(service, **given)
        kept = read_environment(database, **given)
        url = read_settings_from(environment).state_url
        assert url is not None
        assert url.get_secret_value() == (
            f"postgresql://{kept['POSTGRES_USER']}:{kept['POSTGRES_PASSWORD']}@postgres/{kept['POSTGRES_DB']}"
        )
        assert environment.items() >= read_environment(**given).items()
    mine, _, place = service["volumes"][0].partition(":")
    assert place == get_last("VOLUME").words
    assert mine in COMPOSITION["volumes"]
    assert [
        each for each in (*SHARED, "bandstand") if COMPOSITION["services"][each]["volumes"] == service["volumes"]
    ] == [name], "files of a process's own are nobody else's"


def test_the_balancer_of_the_profile_scale_finds_the_services_and_starts_with_them() -> None:
    services = COMPOSITION["services"]
    assert {name for name, each in services.items() if each.get("profiles") == ["scale"]} == {
        "postgres",
        "balancer",
        *SHARED,
    }
    balancer = services["balancer"]
    assert balancer["depends_on"] == {name: {"condition": "service_healthy"} for name in SHARED}
    source, _, mode = balancer["volumes"][0].split(":")
    assert mode == "ro"
    text = (ROOT / source).read_text(encoding="utf-8")
    assert re.findall(r'server \w+ "\$\{\w+-([^:}]+):8000\}"', text) == list(SHARED)
    assert 'bind "${BANDSTAND_LISTEN-:8000}"' in text
    assert balancer["ports"][0].endswith(":8000")
