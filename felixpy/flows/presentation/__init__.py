"""Flows as lines, tables, pictures and documents."""
