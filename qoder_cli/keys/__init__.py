"""Idempotency keys that several machines share: the protocol, and the stores that it is spoken with."""
