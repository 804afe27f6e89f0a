"""One forward pass: hooks, batches and pooling; single tokens; interventions on neurons."""
