"""`--ci`: what CI systems are told of the runs of a command."""
