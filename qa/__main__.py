"""`python -m qa` is the command line, for where the console command is not on the path."""

import sys

from qa.cli import main

sys.exit(main())
