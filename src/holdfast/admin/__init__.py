"""What operators ask and do: bounded reads, and comparisons of what is counted with what is stored."""
