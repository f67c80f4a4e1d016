"""Class-incremental evaluation: from a stored set to the accuracies of a stream that has it as its memory."""
