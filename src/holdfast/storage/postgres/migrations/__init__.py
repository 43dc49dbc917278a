"""Numbered schema changes of this dialect; `holdfast.storage.steps` reads them."""
