"""What is measured of a sub-network, and how sure a measurement is."""
