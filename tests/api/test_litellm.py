"""A real LiteLLM proxy behind the service: a process of its own, mock models, nothing beyond loopback.

`make litellm` installs it; without it these tests are skipped, and in CI they fail.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bandstand.generate.parse import TIPS_SCHEMA
from bandstand.llm.errors import ChatStatusError
from bandstand.llm.providers.openai_compatible import OpenAICompatibleClient
from tests.api.given import read_ok, read_problem, run_service
from tests.api.routes.test_generation import TASKS, TIPS, build_request
from tests.llm.given import request_of
from tests.project.checkout import ROOT

pytestmark = pytest.mark.slow

PROXY = ROOT / ".venv-litellm" / "bin" / "litellm"
KEY = "sk-of-the-test"
MODELS = {
    "tip-generator": json.dumps({"tips": TIPS}),
    "chatty": f"Here you are:\n{json.dumps(TIPS)}",
    "talker": "I would pay the rent first.",
    "fenced": f"```json\n{json.dumps(TIPS)}\n```",
    "failing": "litellm.InternalServerError",
    "limited": "litellm.RateLimitError",
}
_SECONDS = 180


class Proxy:
    """The process, where it listens, and what it wrote."""

    def __init__(self, folder: Path) -> None:
        config = folder / "litellm.json"  # JSON is YAML too
        config.write_text(json.dumps(_config()))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "litellm.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(PROXY), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)],
                cwd=folder,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder),
                    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network
                    "NO_PROXY": "127.0.0.1",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                httpx.get(f"{self.url}/health/liveliness", trust_env=False, timeout=5).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.5)
            else:
                return
        pytest.fail(f"LiteLLM did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Terminate and wait."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _config() -> dict[str, Any]:
    return {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": "openai/mock", "api_key": "none", "mock_response": text},
            }
            for name, text in MODELS.items()
        ],
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "general_settings": {"master_key": KEY},
    }


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if not PROXY.exists():
        missing = "LiteLLM is not installed: run `make litellm`"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    running = Proxy(tmp_path_factory.mktemp("litellm"))
    try:
        running.wait()
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize("model", ["tip-generator", "fenced"])
async def test_tips_come_through(proxy: Proxy, tmp_path: Path, model: str) -> None:
    settings: dict[str, Any] = {"litellm_url": proxy.url, "litellm_master_key": KEY, "generate_model": model}
    async with run_service(tmp_path, **settings) as service:
        answer = read_ok(await service.post("/generate", build_request()))
        picked = read_ok(await service.post("/recommend", build_request()))
    assert [(tip["id"], tip["content"], tip["source_id"]) for tip in answer["candidates"]] == [
        ("a", "Pay the rent now.", TASKS[0]["id"]),
        ("b", "Call her at noon.", TASKS[1]["id"]),
    ]
    assert (answer["model"], answer["tries"]) == (model, 1)
    assert answer["prompt_tokens"] > 0
    assert answer["completion_tokens"] > 0
    assert picked["tip_id"] in {"a", "b"}


async def test_it_answers_whole_and_takes_all_that_we_send(proxy: Proxy) -> None:
    async with OpenAICompatibleClient(base_url=proxy.url, api_key=KEY, model="tip-generator") as client:
        reply = await client.complete(
            request_of([{"role": "user", "content": "hello"}], max_tokens=100, temperature=0.7, schema=TIPS_SCHEMA)
        )
    assert (reply.text, reply.finish_reason) == (MODELS["tip-generator"], "stop")


async def test_a_chatty_model_is_read_past_its_words(proxy: Proxy, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"litellm_url": proxy.url, "litellm_master_key": KEY, "generate_model": "chatty"}
    async with run_service(tmp_path, **settings) as service:
        told = read_ok(await service.post("/generate", build_request()))
    assert (len(told["candidates"]), told["tries"]) == (len(TIPS), 1)


async def test_a_model_that_only_talks_is_corrected_and_then_given_up(proxy: Proxy, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"litellm_url": proxy.url, "litellm_master_key": KEY, "generate_model": "talker"}
    async with run_service(tmp_path, **settings) as service:
        read_problem(await service.post("/generate", build_request()), 502, "gateway-not-json")


@pytest.mark.parametrize("model", ["failing", "limited", "nobody-knows-it"])
async def test_its_errors_are_a_502_without_a_word_of_its_own(proxy: Proxy, tmp_path: Path, model: str) -> None:
    settings: dict[str, Any] = {"litellm_url": proxy.url, "litellm_master_key": KEY, "generate_model": model}
    async with run_service(tmp_path, **settings) as service:
        told = read_problem(await service.post("/generate", build_request()), 502, "gateway-error")
    assert "litellm" not in json.dumps(told).lower()
    assert KEY not in json.dumps(told)


async def test_an_error_carries_its_status(proxy: Proxy) -> None:
    async with OpenAICompatibleClient(base_url=proxy.url, api_key=KEY, model="failing") as client:
        with pytest.raises(ChatStatusError) as caught:
            await client.complete(request_of([{"role": "user", "content": "x"}], max_tokens=9))
    assert (caught.value.status, caught.value.retryable) == (500, True)


async def test_a_wrong_key_is_a_502_too(proxy: Proxy, tmp_path: Path) -> None:
    async with run_service(tmp_path, litellm_url=proxy.url, litellm_master_key="sk-wrong") as service:
        read_problem(await service.post("/generate", build_request()), 502, "gateway-error")


async def test_once_it_is_gone_the_answer_is_a_503(proxy: Proxy, tmp_path: Path) -> None:
    """The last test of the module: the proxy is stopped in the middle of it."""
    settings: dict[str, Any] = {"litellm_url": proxy.url, "litellm_master_key": KEY}
    async with run_service(tmp_path / "patient", **settings) as service:
        read_ok(await service.post("/generate", build_request()))
    proxy.stop()
    async with run_service(tmp_path / "hasty", **settings, generate_deadline_s=0.9) as service:
        read_problem(await service.post("/generate", build_request()), 503, "gateway-unreachable")
        assert (await service.score())["decision_id"]
