"""How long whole clusters take, and how much memory: ``make bench``. Nothing here decides whether a build is good."""
