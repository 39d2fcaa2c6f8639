"""What a run is and what it leaves: its settings, checkpoints, record, and the model that they are of."""
