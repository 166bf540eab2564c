"""Connections between the endpoints of one or two inputs, in common numbers, and their differences."""
