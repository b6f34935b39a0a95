"""Every parser of what comes from outside, given anything; for longer by `make soak`."""
