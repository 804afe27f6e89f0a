"""What the Admin page shows, one file per part."""
