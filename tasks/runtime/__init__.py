"""How any task runs on Prefect; the only package of tasks that imports prefect."""
