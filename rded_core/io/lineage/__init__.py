"""From a distilled image to its source photographs and back."""
