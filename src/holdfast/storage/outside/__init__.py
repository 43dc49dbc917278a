"""Users' own connections, whatever their driver; no driver is imported for asking what a connection is."""
