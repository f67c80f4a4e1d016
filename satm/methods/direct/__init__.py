"""Code that the methods without trajectories share: gradient matching, distribution matching and FRePo's regression."""
