"""Sorted by what they need: nothing (unit, conformance, …), time (bench, slow ones), root (netns)."""
