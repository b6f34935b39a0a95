"""Tests of what projects test with."""
