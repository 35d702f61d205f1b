"""The local stack of `rded up`: server, worker, schedules and automations."""
