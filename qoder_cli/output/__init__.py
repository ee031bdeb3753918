"""What is shown: data on standard output in every format, progress and errors on standard error."""
