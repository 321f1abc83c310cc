"""Commands: one module per nox session, with the session's name.

A module has:
- its docstring: the text of --help
- EXAMPLES: command lines for --help
- INTERRUPTED: the state after Ctrl-C, for the message
- arguments(parser): adds its arguments to a parser
- run(root, options): runs the command, and returns the exit code
"""
