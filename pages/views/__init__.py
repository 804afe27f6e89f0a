"""What the pages show, a folder per page and a file per view."""
