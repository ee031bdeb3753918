"""One run: started once, read, judged, and left."""
