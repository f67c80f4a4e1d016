"""Turns rows into text and synthetic sets into pictures. Never reads the registry."""
