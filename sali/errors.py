"""Errors that a user can fix; the commands print them as one line."""


class UserError(ValueError):
    """An input that does not fit. The message says what was got, what was wanted, how to fix it."""


class ConfigError(UserError):
    """A configuration that cannot run."""


class DataError(UserError):
    """Missing data, or data of another kind than wanted."""


class FrameError(UserError):
    """A frame or mask file that cannot be used."""


class WeightsError(UserError):
    """Weights that do not fit."""


class DivergedError(UserError):
    """A training whose numbers are not finite any more."""
