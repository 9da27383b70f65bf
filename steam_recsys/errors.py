"""The exception for errors that a user can fix."""


class UserError(Exception):
    """An error that the user can fix.

    The message is one sentence: what is wrong, where, and what to do. It is printed without a stack trace, and the
    process exits with a non-zero code.
    """


class ArtifactError(UserError):
    """Stored content that is missing, damaged or of another release. A stage can make it again, or do without."""


def other_version_error(content: str, error: Exception, remedy: str = "train again") -> ArtifactError:
    """Return the error for stored content that another version of this project wrote.

    Args:
        content: What was read and from where, as in "models/v1 holds a model".
        error: The error that reading it raised; its first argument names what is missing or unexpected.
        remedy: What to do, as an imperative.

    Example:
        >>> other_version_error("models/v1 holds a model", KeyError("history_weights"))
        ArtifactError('models/v1 holds a model of another version of this project (history_weights): train again.')
    """
    reason = error.args[0] if error.args else type(error).__name__
    return ArtifactError(f"{content} of another version of this project ({reason}): {remedy}.")
