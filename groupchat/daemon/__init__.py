"""The daemon: options, checks before it runs, doors, signals and the process. assembly.py plugs all parts together."""
