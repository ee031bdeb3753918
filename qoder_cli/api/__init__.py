"""Any operation of the API, as `qoder api` asks for it: which there are, what is sent, and what comes back."""
