"""ESPnet tasks, and what they need of a trainer.

Importing ESPnet's task imports its phoneme converter as well, which fetches dictionaries when it is
imported. Nothing here uses it, and nothing may be fetched behind the user's back: it is first
imported here, with the fetching switched off.
"""

import nltk

_fetch, nltk.download = nltk.download, lambda *args, **kwargs: False
try:
    import espnet2.tasks.abs_task
    import espnet2.train.preprocessor  # noqa: F401
finally:
    nltk.download = _fetch
