"""What `qoder doctor` looks at. Every check returns findings, writes nothing, and shows no secret."""
