"""Where usage comes from: one seam (``seam.py``), a file a kind of source."""
