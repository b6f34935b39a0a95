"""Tests on real parts: servers, browsers and files; no mock of the project's own modules."""
