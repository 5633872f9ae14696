"""The command ``netorder``: ``main`` reads the command line, each file named as a command is that command.

``command``, ``playbooks`` and ``hosts`` are what several of them share.
"""
