"""Statistics over languages: correlation, comparison, partial correlation, prediction, intervals.

Correlation, comparison and layer choice stand on scipy; bands and influence are statsmodels'. What is written by hand
has no counterpart in either, and each module says what that is.
"""
