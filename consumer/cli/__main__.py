"""``python -m consumer.cli`` is ``passback``."""

import sys

from consumer.cli.app import main

sys.exit(main())
