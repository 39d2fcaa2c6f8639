"""What is to be run, and running it: protocols, scripts, sweeps."""
