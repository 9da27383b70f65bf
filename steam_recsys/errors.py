"""The one exception that people are meant to read."""


class UserError(Exception):
    """Something the user can put right.

    The message is one sentence: what is wrong, where, and what to do. It is printed without a stack trace, and the
    process that meets it exits with a non-zero code.
    """
