"""The commands. Each noun's module has them by their verbs, in COMMANDS."""
