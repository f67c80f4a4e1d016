"""Evaluates stored sets: trains networks of their own architecture and of others on them, and tests the networks."""
