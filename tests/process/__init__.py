"""The installed program in processes, terminals and shells."""
