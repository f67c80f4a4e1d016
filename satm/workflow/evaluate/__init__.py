"""From a stored set to test accuracies, on its own architecture and on others."""
