"""Extraction: chosen sub-networks as models of their own, verified, repaired, distilled, judged, described."""
