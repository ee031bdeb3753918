"""Data on standard output in every format; progress and errors on standard error."""
