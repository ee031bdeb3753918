"""What tests share: the fake server and clock, processes, shells, and data."""
