"""The exception for errors that a user can fix."""


class UserError(Exception):
    """An error that the user can fix.

    The message is one sentence: what is wrong, where, and what to do. It is printed without a stack trace, and the
    process exits with a non-zero code.
    """


def other_version_error(content: str, error: Exception, remedy: str = "train again") -> UserError:
    """Return the error for stored content that another version of this project wrote.

    Args:
        content: What was read and from where, as in "models/v1 holds a model".
        error: The error that reading it raised; its first argument names what is missing or unexpected.
        remedy: What to do, as an imperative.

    Example:
        >>> other_version_error("models/v1 holds a model", KeyError("history_weights"))
        UserError('models/v1 holds a model of another version of this project (history_weights): train again, ...')
    """
    return UserError(
        f"{content} of another version of this project ({error.args[0]}): {remedy}, in a store without it."
    )
