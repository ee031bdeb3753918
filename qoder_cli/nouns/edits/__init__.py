"""The one engine of every write but a trigger: as it is, as wanted, what differs, written once, settled."""
