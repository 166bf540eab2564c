"""The passes of loading that look at all documents: each a pure function that returns (values, problems)."""
