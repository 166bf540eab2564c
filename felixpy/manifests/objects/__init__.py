"""Each kind of object: its fields, and its conversion to the model."""
