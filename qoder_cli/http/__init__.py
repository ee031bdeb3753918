"""Asking the server: requests, retries, pages and event streams, and what a response means."""
