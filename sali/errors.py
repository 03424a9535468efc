"""Errors that a user can mend; the commands print them as one line."""


class UserError(ValueError):
    """Something given by the user does not fit. The message says what was got, what was wanted."""


class ConfigError(UserError):
    """A configuration that cannot run."""


class DataError(UserError):
    """Data that is not where, or what, it should be."""


class FrameError(UserError):
    """A frame or mask file that cannot be used."""


class WeightsError(UserError):
    """Weights that do not fit."""
