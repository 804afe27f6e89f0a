"""From numbers to what can be believed: correlation, comparison, prediction, intervals."""
