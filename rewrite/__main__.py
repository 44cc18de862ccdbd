"""`python -m rewrite`: the command."""

from rewrite.cli import main

raise SystemExit(main())
