"""Settings of the LLM providers: their keys."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, SecretStr

from bandstand.config.fields import make_setting, validate_secret


class ProviderKeySettings(BaseModel):
    """Keys of the LLM providers."""

    anthropic_api_key: Annotated[SecretStr | None, BeforeValidator(validate_secret)] = make_setting(
        "Key of the Anthropic API: of the judge under `JUDGE_PROVIDER=anthropic`, and of `simulate --judge llm`.",
        "printable ASCII without spaces",
        default=None,
    )
    openai_api_key: Annotated[SecretStr | None, BeforeValidator(validate_secret)] = make_setting(
        "Key of OpenAI, or of the gateway that `JUDGE_URL` or `simulate --judge-url` names; some gateways need none.",
        "printable ASCII without spaces",
        default=None,
    )
