"""What the methods have in common whose outer loss is the cross-entropy of θ_N on real images."""
