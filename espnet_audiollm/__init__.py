"""ESPnet-AudioLLM: audio for Llamas, in recipes of ESPnet's style."""

import getpass
import os

__version__ = "0.2.0"


def _name_user() -> None:
    """A user id without a name, as in a container, goes by its number: torch asks at its import."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())


_name_user()
