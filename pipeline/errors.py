"""The one exception that a user's mistake or a user's file raises; the command line prints it as one line."""


class UserError(Exception):
    """Says what, where, expected, found, and the command that helps. Anything else that escapes is our defect."""
