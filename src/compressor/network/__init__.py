"""What a network is, what it computes and costs, and how it is loaded, cut and saved."""
