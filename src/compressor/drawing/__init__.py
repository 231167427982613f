"""Charts described apart from how they are drawn, and self-contained pages that hold them."""
