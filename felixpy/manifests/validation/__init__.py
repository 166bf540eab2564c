"""The schema of documents, and messages for those that do not match it."""
