"""From a preset to a stored set: inputs, outer loop, resumption, and the cost of all that."""
