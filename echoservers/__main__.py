"""``python -m echoservers``."""

import sys

from echoservers.cli import main

sys.exit(main())
