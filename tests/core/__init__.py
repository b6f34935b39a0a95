"""Pure tests of the pure core: no server, no clock, no network."""
