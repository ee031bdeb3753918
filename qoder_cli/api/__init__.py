"""Any operation of the API: what is sent, and what comes back."""
