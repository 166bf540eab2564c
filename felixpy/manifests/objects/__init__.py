"""Each kind of object: its fields, and what becomes of it in the model."""
