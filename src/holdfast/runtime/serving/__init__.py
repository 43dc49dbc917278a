"""What a runner does for other processes: its socket, and what is asked there."""
