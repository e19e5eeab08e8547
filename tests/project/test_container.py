"""The image and the composition, as far as they can be judged without an engine."""

import re
import subprocess
from typing import Any

import yaml

from bandstand.config.settings import Settings
from tests.project.checkout import ROOT, tool
from tests.project.dockerfile import Instruction, read_dockerfile

STAGES = read_dockerfile(ROOT / "Dockerfile")
COMPOSITION: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICE: dict[str, Any] = COMPOSITION["services"]["bandstand"]


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
    assert SERVICE["environment"]["ALLOW_OPEN"] == "1"
    assert SERVICE["ports"] == ["127.0.0.1:8000:8000"]
    for service in COMPOSITION["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_service_keeps_its_state_on_a_named_volume() -> None:
    name, _, place = SERVICE["volumes"][0].partition(":")
    assert place == get_last("VOLUME").words
    assert name in COMPOSITION["volumes"]


def test_the_service_s_health_check_is_the_image_s() -> None:
    image, service = get_last("HEALTHCHECK"), SERVICE["healthcheck"]
    assert service["test"] == ["CMD", *image.command]
    timing = {key.replace("-", "_"): value for key, value in image.flags.items()}
    assert {key: str(value) for key, value in service.items() if key != "test"} == timing


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
