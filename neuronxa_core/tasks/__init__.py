"""Task scores from elsewhere: tables, lm-evaluation-harness, published figures; matched to languages."""
