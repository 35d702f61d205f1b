"""``python -m deployments`` is ``rded``, for places where the script is not on the path."""

from deployments.cli.main import run_as_script

run_as_script()
