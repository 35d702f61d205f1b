"""The Prefect server and worker of `rded up`, deployments, schedules and automations."""
