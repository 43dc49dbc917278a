"""What users need to test their entities and jobs."""
