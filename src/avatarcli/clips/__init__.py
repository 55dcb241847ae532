"""Motion: what a face and a head do over time, independent of who does it, and the files that it comes in."""
