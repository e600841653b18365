"""Trust carried by git: fetched as blobs, nothing of a repository executed or followed."""
