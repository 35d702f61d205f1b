"""``python -m deployments`` is ``rded``, for places where the script is not on the path."""

from deployments.cli import main

main()
