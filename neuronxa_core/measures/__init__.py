"""From states to numbers, one file a measure."""
