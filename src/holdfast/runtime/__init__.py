"""Where the engines meet storage and transport: the App, the node it opens, and the services users call."""
