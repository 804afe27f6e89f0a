"""Language models: found, described and loaded; where their neurons are."""
