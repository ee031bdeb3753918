"""Any operation of the API: which there are, what is sent, what comes back."""
