"""Proof on your own machine or cluster: an application that does nothing but show mistakes, and what provokes them."""
