"""One module a nox session, with the session's name: its arguments, and what it does with them.

A module's docstring is the text of its --help. It has EXAMPLES, command lines to type; INTERRUPTED,
what a person is told after a Ctrl-C; `arguments`, which adds its own to a parser; and `run`, which
returns an exit code.
"""
