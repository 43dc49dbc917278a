"""Small mechanisms without a subject of ours, standard library only: import each from its own module."""
