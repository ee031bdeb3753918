"""What is said to a line that cannot be run as it was typed."""
