"""The events of runs, past and to come: of one run, or of many."""
