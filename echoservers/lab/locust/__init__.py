"""Load by Locust, for when one machine is too small to make it: the extra ``[locust]``.

::

    python -m echoservers.lab.locust --host tcp://127.0.0.1:8007

`users` has the `EchoUser` for all our endpoints, `locustfile` is what Locust is given,
`window` keeps what is counted to a measured window, and `engine` lets ``compare`` drive it.
Only `users`, `window` and `locustfile` import Locust.

Locust puts this directory on the import path of its processes: no module here may have the
name of one that is imported by its full name elsewhere.
"""

DRIVEN = "ECHOSERVERS_LOCUST_DRIVEN"
"""Set in the environment by who drives Locust by its standard input.  It is no option, as a
worker has those only when it has found its master, and until then it must be watched, too."""
