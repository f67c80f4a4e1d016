"""Evaluates stored sets: networks trained on them, tested on their own architecture and on others."""
