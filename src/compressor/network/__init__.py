"""What a network is, what it computes and weighs, and how it is loaded, cut and saved."""
