"""Searches the settings of a method for the best validation accuracy, with Optuna."""
