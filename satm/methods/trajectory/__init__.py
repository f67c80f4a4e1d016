"""What the trajectory-matching methods share: the condensation, its settings, its guard, its label and α rules."""
