"""The operator's door: the command ``passback``.

One file a group of commands; ``app`` puts them together and turns every failure into one
sentence on stderr and an exit status. It is one of the few places that read the clock.
"""

from consumer.cli.app import main

__all__ = ["main"]
