"""The local page: runs, live, in a browser on this machine."""
