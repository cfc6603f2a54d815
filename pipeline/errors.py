"""The one exception that a user's mistake or a user's file raises; the command line prints it as one line."""


class UserError(Exception):
    """Says what, where, expected, found, and the command that helps. Anything else that escapes is our defect."""


def one_line(error: Exception) -> str:
    """What somebody else's exception says, in one line of bearable length; its type where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__
