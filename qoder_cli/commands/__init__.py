"""The commands, one module a noun, named as typed."""
