"""Who reaches whom: endpoints of one or two inputs in common numbers, connections between them, and what differs."""
