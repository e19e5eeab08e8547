"""Settings of what writes tips, and with which prompts."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, SecretStr

from bandstand.config.fields import expand_home, make_setting, not_blank, to_lower, validate_secret, validate_url


class GenerateSettings(BaseModel):
    """What writes tips, and with which prompts."""

    generator: Annotated[Literal["auto", "llm", "template"], BeforeValidator(to_lower)] = make_setting(
        "What writes tips: a model (`llm`), the tasks alone (`template`), or a model if `LITELLM_URL` is set (`auto`).",
        "auto, llm or template",
        default="auto",
    )
    litellm_url: Annotated[str | None, BeforeValidator(validate_url)] = make_setting(
        "The OpenAI-compatible gateway that writes tips; under `GENERATOR=llm`, `http://localhost:4000` if unset.",
        "an http or https URL without credentials",
        default=None,
    )
    litellm_master_key: Annotated[SecretStr | None, BeforeValidator(validate_secret)] = make_setting(
        "The gateway's key.", "printable ASCII without spaces", default=None
    )
    generate_model: Annotated[str, BeforeValidator(not_blank)] = make_setting(
        "The model or alias that the gateway is asked for.", "a name that the gateway knows", default="tip-generator"
    )
    generate_deadline_s: float = make_setting(
        "Seconds that writing tips may take, over all tries.",
        "a number above 0, up to 3600",
        default=60,
        gt=0,
        le=3600,
    )
    generate_max_concurrent: int = make_setting(
        "Requests for tips that may wait for the model at once; beyond that a call is answered with 503.",
        "a whole number from 1 to 10000",
        default=64,
        ge=1,
        le=10_000,
    )
    default_prompt_version: Annotated[str | None, BeforeValidator(not_blank)] = make_setting(
        "The prompt of requests that name none: `v1` if unset, any of a list, or the one that earns most (`auto`).",
        "auto, or a version or comma list of versions in the prompts folder",
        default=None,
    )
    prompts_dir: Annotated[Path | None, BeforeValidator(expand_home)] = make_setting(
        "The deployment's own folder of prompts, in place of those that ship.", "a path", default=None
    )
