"""Runs ``rded`` as ``python -m deployments``, for when the script is not on the path."""

from deployments.cli.main import run_as_script

run_as_script()
