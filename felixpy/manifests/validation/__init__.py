"""What documents may look like, and what there is to say about one that does not."""
