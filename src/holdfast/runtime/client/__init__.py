"""The node that hosts nothing: one connection to the runner, and the inbox where no runner answers."""
