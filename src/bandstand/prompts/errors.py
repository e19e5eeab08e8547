"""Errors of prompts, raised before any model is called."""

from bandstand.errors import BandstandError


class PromptError(BandstandError):
    """A prompt file that loaded well cannot be rendered with the values it is given."""

    code = "prompt"
