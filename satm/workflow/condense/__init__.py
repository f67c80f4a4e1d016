"""From a preset to a stored set: inputs, outer loop, continuation of earlier runs, and the predicted cost."""
