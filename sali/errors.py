"""Errors that a user can fix; the commands print them as one line."""


class UserError(ValueError):
    """An input that does not fit. The message says what was got, what was wanted, how to fix it.

    It is one line, also where a name in it is not. From a loader process an error comes as text
    that ends with the message, after that process's traceback.
    """

    def __init__(self, message: str) -> None:
        text = str(message).strip()
        if "Traceback (most recent call last)" in text:
            text = text.splitlines()[-1].partition("Error: ")[2]
        super().__init__(" ".join(text.splitlines()))


class ConfigError(UserError):
    """A configuration that cannot run."""


class DataError(UserError):
    """Missing data, or data of another kind than wanted."""


class OvertakenError(DataError):
    """A folder that another process wrote meanwhile."""


class FrameError(UserError):
    """A frame or mask file that cannot be used."""


class WeightsError(UserError):
    """Weights that do not fit."""


class DivergedError(UserError):
    """A training whose numbers are not finite any more."""
