"""placet."""
