"""What runs the work: processes on one machine, or Ray Data on a cluster."""
