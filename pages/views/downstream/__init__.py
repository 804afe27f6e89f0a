"""Views of a task's scores beside the alignment of its languages."""
