"""Class-incremental protocols on Avalanche: they measure how much a memory of images is worth."""
