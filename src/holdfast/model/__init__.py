"""Words: ids, addresses, rows and outcomes. Facts only; nothing here waits, stores or sends."""
