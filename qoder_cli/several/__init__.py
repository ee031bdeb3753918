"""Several runs or deployments in one command, with one answer for all."""
