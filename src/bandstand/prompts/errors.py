"""How asking fails before anything is asked."""

from bandstand.errors import BandstandError


class PromptError(BandstandError):
    """A prompt file that loaded well cannot be rendered with the values it is given."""

    code = "prompt"
