"""Change deployments: compare with what is wanted, write once, read back."""
