"""The command ``netorder``: ``main`` reads the command line, each other file is one command."""
