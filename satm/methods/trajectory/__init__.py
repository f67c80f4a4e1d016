"""What the trajectory-matching methods share: the condensation, its settings, guard, labels and measurements."""
