"""Laws that hold for every input, each in a file of its own, checked on generated clusters."""
