"""Continual-learning protocols on Avalanche: a memory of images goes in, a record of what it is worth comes out."""
