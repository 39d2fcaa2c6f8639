"""What must be right before a number can be: environment, weights, data, devices. The command is tools/doctor.py."""
