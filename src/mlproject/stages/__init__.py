"""One file per stage: inputs opened, the library called, what came of it logged and printed."""
