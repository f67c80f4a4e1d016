"""How a step is run on this machine: device, compilation, pieces of a batch, RAM."""
