"""Networks that look at images: feature extractors."""
