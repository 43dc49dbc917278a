"""Named SQL of this dialect; `holdfast.storage.statements` reads it."""
