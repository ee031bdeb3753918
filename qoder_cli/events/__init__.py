"""What happens in a run's session: followed, put into words, and shown as a log."""
