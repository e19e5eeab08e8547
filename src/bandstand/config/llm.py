"""Settings of the LLM providers: their keys, and where Anthropic's is."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, SecretStr

from bandstand.config.fields import make_setting, validate_secret, validate_url


class ProviderKeySettings(BaseModel):
    """Keys and places of the LLM providers."""

    anthropic_api_key: Annotated[SecretStr | None, BeforeValidator(validate_secret)] = make_setting(
        "Key of the Anthropic API: of the judge under `JUDGE_PROVIDER=anthropic`, and of `simulate --judge llm`.",
        "printable ASCII without spaces",
        default=None,
    )
    anthropic_base_url: Annotated[str, BeforeValidator(validate_url)] = make_setting(
        "Where the Anthropic API is: for the judge if `JUDGE_URL` is unset, and for `simulate --judge llm`.",
        "an http or https URL without credentials",
        default="https://api.anthropic.com",
    )
    openai_api_key: Annotated[SecretStr | None, BeforeValidator(validate_secret)] = make_setting(
        "Key of OpenAI, or of the gateway that `JUDGE_URL` or `simulate --judge-url` names; some gateways need none.",
        "printable ASCII without spaces",
        default=None,
    )
