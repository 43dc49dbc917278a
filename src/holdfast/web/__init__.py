"""What a runner serves over HTTP: import each part from its own module."""
