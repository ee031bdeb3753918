"""Command lines that are not understood, and what was meant by them."""
